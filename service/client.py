"""The typed asynchronous client: api shapes in and out, failures as the classes of `service.errors`.

async with Client("127.0.0.1:50051") as client:
    answer = await client.chat(request)

A server that wants to know its callers: `Client(target, tls=Tls(...), token=...)`.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias, TypedDict, TypeVar

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from inferwire.v1 import (
    admin_service_pb2,
    admin_service_pb2_grpc,
    embeddings_pb2,
    inference_service_pb2_grpc,
    model_service_pb2_grpc,
    models_pb2,
)
from service.api.chat import ChatCompletionRequest, ChatCompletionResponse
from service.api.completion import CompletionRequest, CompletionResponse
from service.api.embeddings import (
    EmbeddingItem,
    EmbeddingOptions,
    EmbeddingResult,
    EmbeddingsRequest,
    EmbeddingsResponse,
)
from service.api.events import Event
from service.api.load import ServerLoad
from service.api.models import Model, Registration
from service.api.preflight import PreflightReport
from service.api.score import RerankRequest, RerankResponse, ScoreRequest, ScoreResponse
from service.api.tokenize import DetokenizeRequest, DetokenizeResponse, TokenizeRequest, TokenizeResponse
from service.wire.chat import chat_chunk_from_proto, chat_request_to_proto, chat_response_from_proto
from service.wire.completion import (
    completion_chunk_from_proto,
    completion_request_to_proto,
    completion_response_from_proto,
)
from service.wire.embeddings import (
    embedding_item_to_proto,
    embedding_options_to_proto,
    embedding_result_from_proto,
    embeddings_request_to_proto,
    embeddings_response_from_proto,
)
from service.wire.load import server_load_from_proto
from service.wire.models import model_from_proto, registration_request
from service.wire.preflight import preflight_report_from_proto, preflight_request_to_proto
from service.wire.score import (
    rerank_request_to_proto,
    rerank_response_from_proto,
    score_request_to_proto,
    score_response_from_proto,
)
from service.wire.status import error_from_rpc
from service.wire.tokenize import (
    detokenize_request_to_proto,
    detokenize_response_from_proto,
    tokenize_request_to_proto,
    tokenize_response_from_proto,
)

Answer = TypeVar("Answer")
Chunk = TypeVar("Chunk")
BulkCall: TypeAlias = (
    "grpc.aio.StreamStreamCall[embeddings_pb2.StreamEmbeddingsRequest, embeddings_pb2.StreamEmbeddingsResponse]"
)

DEFAULT_TARGET = "127.0.0.1:50051"
REQUEST_ID_KEY = "x-request-id"
AUTHORIZATION_KEY = "authorization"

# Less than what a server reads of one stream by default, so that a message seldom waits to be sent. When a call ends
# while one is on its way, gRPC's client loses the status and says INTERNAL, "Internal error from Core".
UNANSWERED_ITEMS = 256

SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": [{}],  # every method: none does more when it is sent again
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.1s",
                "maxBackoff": "2s",
                "backoffMultiplier": 2,
                # gRPC's core, on which the server runs, says CANCELLED for a call that arrives just as the server
                # ends, before anything has seen it (https://github.com/grpc/grpc/issues/41785).
                "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
            },
        }
    ]
}
CHANNEL_OPTIONS: Sequence[tuple[str, int | str]] = (
    ("grpc.service_config", json.dumps(SERVICE_CONFIG)),
    ("grpc.enable_retries", 1),
    # Bulk answers, such as 2048 embeddings, are larger than the 4 MiB that gRPC takes by default.
    ("grpc.max_receive_message_length", -1),
    # Finds out about a dead connection also while an answer is awaited, or between two calls.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
)


@dataclass(frozen=True, slots=True)
class Tls:
    """How to encrypt. The files are in PEM, and are read when the client is made."""

    ca: Path | None = None
    """The authorities to trust. None: those that gRPC trusts."""
    certificate: Path | None = None
    key: Path | None = None
    """The client's own certificate and its private key, for servers that want to see one."""
    server_name: str | None = None
    """The name that the server's certificate has to have. None: the host of the target."""

    def credentials(self) -> grpc.ChannelCredentials:
        return grpc.ssl_channel_credentials(_read(self.ca), _read(self.key), _read(self.certificate))


class CallOptions(TypedDict):
    """What gRPC takes with a call."""

    timeout: float | None
    metadata: tuple[tuple[str, str], ...]


class Client:
    """Calls a server; make it inside a running event loop.

    Every call takes `timeout_s`, its deadline, and `request_id`, its name in the server's log. It raises an
    InferwireError when the server says why it failed, and grpc.aio.AioRpcError for anything else, such as a network
    that is down. Calls that meet UNAVAILABLE, or CANCELLED by the server, are sent again by gRPC itself, up to three
    times.
    """

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        tls: Tls | None = None,
        token: str | Callable[[], str] | None = None,
        channel: grpc.aio.Channel | None = None,
    ) -> None:
        """Connects to `target`, unencrypted without `tls`.

        `token` goes along with each call, encrypted or not. A function is asked for it each time: tokens expire.
        """
        self._token = token
        self._owns_channel = channel is None
        self._channel = channel or _open_channel(target, tls)
        self._inference = inference_service_pb2_grpc.InferenceServiceStub(self._channel)
        self._models = model_service_pb2_grpc.ModelServiceStub(self._channel)
        self._admin = admin_service_pb2_grpc.AdminServiceStub(self._channel)
        self._health = health_pb2_grpc.HealthStub(self._channel)

    @classmethod
    def over(cls, channel: grpc.aio.Channel) -> Self:
        """A client on a channel that belongs to the caller, who also closes it."""
        return cls(channel=channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the channel, which cancels its calls."""
        if self._owns_channel:
            await self._channel.close()

    async def chat(
        self, request: ChatCompletionRequest, *, timeout_s: float | None = None, request_id: str | None = None
    ) -> ChatCompletionResponse:
        message = chat_request_to_proto(request)
        call = self._inference.ChatCompletion(message, **self._call_options(timeout_s, request_id))
        return chat_response_from_proto(await _answer(call))

    def stream_chat(
        self, request: ChatCompletionRequest, *, timeout_s: float | None = None, request_id: str | None = None
    ) -> AsyncGenerator[Event, None]:
        """The events of one answer. The call starts with the first event asked for; closing the generator cancels it.

        Read it to the end, or in `async with contextlib.aclosing(...)`: leaving a bare `async for` early leaves the
        call running until the garbage collector finds it.
        """
        message, options = chat_request_to_proto(request), self._call_options(timeout_s, request_id)
        return _events(lambda: self._inference.StreamChatCompletion(message, **options), chat_chunk_from_proto)

    async def complete(
        self, request: CompletionRequest, *, timeout_s: float | None = None, request_id: str | None = None
    ) -> CompletionResponse:
        message = completion_request_to_proto(request)
        call = self._inference.Completion(message, **self._call_options(timeout_s, request_id))
        return completion_response_from_proto(await _answer(call))

    def stream_completion(
        self, request: CompletionRequest, *, timeout_s: float | None = None, request_id: str | None = None
    ) -> AsyncGenerator[Event, None]:
        """As `stream_chat`; all deltas are text."""
        message, options = completion_request_to_proto(request), self._call_options(timeout_s, request_id)
        return _events(lambda: self._inference.StreamCompletion(message, **options), completion_chunk_from_proto)

    async def embed(
        self, request: EmbeddingsRequest, *, timeout_s: float | None = None, request_id: str | None = None
    ) -> EmbeddingsResponse:
        message = embeddings_request_to_proto(request)
        call = self._inference.Embeddings(message, **self._call_options(timeout_s, request_id))
        return embeddings_response_from_proto(await _answer(call))

    def stream_embed(
        self,
        options: EmbeddingOptions,
        items: AsyncIterable[EmbeddingItem],
        *,
        timeout_s: float | None = None,
        request_id: str | None = None,
    ) -> AsyncGenerator[EmbeddingResult, None]:
        """A result for each item, as they are ready. Wrong items have an error as their outcome.

        `items` are taken as fast as the server takes them, which it stops to do while results aren't read. Read it as
        `stream_chat`. A failure of `items` is raised as it is. Where the server ends a stream in the middle, gRPC may
        say INTERNAL in place of its reason; items without a result may be sent again in any case.
        """
        call_options = self._call_options(timeout_s, request_id)
        return _results(lambda: self._inference.StreamEmbeddings(**call_options), options, items)

    async def preflight(
        self,
        request: ChatCompletionRequest | CompletionRequest,
        *,
        timeout_s: float | None = None,
        request_id: str | None = None,
    ) -> PreflightReport:
        """What the server would do with a request, and all that it would refuse; generates nothing."""
        message = preflight_request_to_proto(request)
        call = self._inference.Preflight(message, **self._call_options(timeout_s, request_id))
        return preflight_report_from_proto(await _answer(call))

    async def score(
        self, request: ScoreRequest, *, timeout_s: float | None = None, request_id: str | None = None
    ) -> ScoreResponse:
        """How well the document of each pair fits to its query."""
        message = score_request_to_proto(request)
        call = self._inference.Score(message, **self._call_options(timeout_s, request_id))
        return score_response_from_proto(await _answer(call))

    async def rerank(
        self, request: RerankRequest, *, timeout_s: float | None = None, request_id: str | None = None
    ) -> RerankResponse:
        """Documents in the order of how well they fit to a query."""
        message = rerank_request_to_proto(request)
        call = self._inference.Rerank(message, **self._call_options(timeout_s, request_id))
        return rerank_response_from_proto(await _answer(call))

    async def tokenize(
        self, request: TokenizeRequest, *, timeout_s: float | None = None, request_id: str | None = None
    ) -> TokenizeResponse:
        """The tokens that a model would read."""
        message = tokenize_request_to_proto(request)
        call = self._inference.Tokenize(message, **self._call_options(timeout_s, request_id))
        return tokenize_response_from_proto(await _answer(call))

    async def detokenize(
        self, request: DetokenizeRequest, *, timeout_s: float | None = None, request_id: str | None = None
    ) -> DetokenizeResponse:
        """The text of tokens."""
        message = detokenize_request_to_proto(request)
        call = self._inference.Detokenize(message, **self._call_options(timeout_s, request_id))
        return detokenize_response_from_proto(await _answer(call))

    async def models(self, *, timeout_s: float | None = None, request_id: str | None = None) -> tuple[Model, ...]:
        """All models, in the order of the server's configuration."""
        call = self._models.ListModels(models_pb2.ListModelsRequest(), **self._call_options(timeout_s, request_id))
        return tuple(map(model_from_proto, (await _answer(call)).models))

    async def model(self, model_id: str, *, timeout_s: float | None = None, request_id: str | None = None) -> Model:
        message = models_pb2.GetModelRequest(model_id=model_id)
        call = self._models.GetModel(message, **self._call_options(timeout_s, request_id))
        return model_from_proto((await _answer(call)).model)

    async def register(
        self, registration: Registration, *, timeout_s: float | None = None, request_id: str | None = None
    ) -> Model:
        """Loads an adapter, and returns once it is served."""
        call = self._models.RegisterModel(
            registration_request(registration), **self._call_options(timeout_s, request_id)
        )
        return model_from_proto((await _answer(call)).model)

    async def unregister(self, model_id: str, *, timeout_s: float | None = None, request_id: str | None = None) -> None:
        """Returns once the calls of the adapter have ended."""
        message = models_pb2.UnregisterModelRequest(model_id=model_id)
        await _answer(self._models.UnregisterModel(message, **self._call_options(timeout_s, request_id)))

    async def load(self, *, timeout_s: float | None = None, request_id: str | None = None) -> ServerLoad:
        """How busy the server is; for operators."""
        call = self._admin.GetLoad(admin_service_pb2.GetLoadRequest(), **self._call_options(timeout_s, request_id))
        return server_load_from_proto(await _answer(call))

    async def is_serving(
        self, service: str = "", *, timeout_s: float | None = None, request_id: str | None = None
    ) -> bool:
        """Whether the server, or one of its services by its full name, takes calls (grpc.health.v1)."""
        message = health_pb2.HealthCheckRequest(service=service)
        answer = await _answer(self._health.Check(message, **self._call_options(timeout_s, request_id)))
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def _call_options(self, timeout_s: float | None, request_id: str | None) -> CallOptions:
        token = self._token() if callable(self._token) else self._token
        metadata = {REQUEST_ID_KEY: request_id, AUTHORIZATION_KEY: token and bearer(token)}
        return {"timeout": timeout_s, "metadata": tuple((key, value) for key, value in metadata.items() if value)}


def bearer(token: str) -> str:
    """Raises ValueError for what metadata can't carry; gRPC would do so too, and show the token."""
    if not all("!" <= character <= "~" for character in token):
        raise ValueError("A token is made of printable ASCII without spaces.")
    return f"Bearer {token}"


def _open_channel(target: str, tls: Tls | None) -> grpc.aio.Channel:
    if tls is None:
        return grpc.aio.insecure_channel(target, options=CHANNEL_OPTIONS)
    name = [("grpc.ssl_target_name_override", tls.server_name)] if tls.server_name else []
    return grpc.aio.secure_channel(target, tls.credentials(), options=[*CHANNEL_OPTIONS, *name])


def _read(file: Path | None) -> bytes | None:
    return file.read_bytes() if file else None


async def _answer(call: Awaitable[Answer]) -> Answer:
    with _errors_of_the_server():
        return await call


async def _events(
    start: Callable[[], grpc.aio.UnaryStreamCall[Any, Chunk]], decode: Callable[[Chunk], Event]
) -> AsyncGenerator[Event, None]:
    call = start()
    chunk: Any  # a Chunk or EOF, which gRPC's type hints call an object
    try:
        with _errors_of_the_server():
            # Not `async for`: that is one more generator, which closing this one would leave to the garbage collector.
            while (chunk := await call.read()) is not grpc.aio.EOF:
                yield decode(chunk)
    finally:
        call.cancel()  # no effect on a call that has ended


async def _results(
    start: Callable[[], BulkCall], options: EmbeddingOptions, items: AsyncIterable[EmbeddingItem]
) -> AsyncGenerator[EmbeddingResult, None]:
    call = start()
    sending: asyncio.Task[None] | None = None
    chunk: Any
    try:
        with _errors_of_the_server():
            await _open(call, options)
            unanswered = asyncio.Semaphore(UNANSWERED_ITEMS)
            sending = asyncio.create_task(_send(call, items, unanswered))
            while (chunk := await _read_while(sending, call)) is not grpc.aio.EOF:
                unanswered.release()
                yield embedding_result_from_proto(chunk)
    finally:
        call.cancel()
        if sending:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)


async def _open(call: BulkCall, options: EmbeddingOptions) -> None:
    """Sends nothing more before the options are accepted: a refusal would get lost, see UNANSWERED_ITEMS."""
    with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):  # reading tells how the call ended
        await call.write(embeddings_pb2.StreamEmbeddingsRequest(options=embedding_options_to_proto(options)))
        await call.initial_metadata()


async def _send(call: BulkCall, items: AsyncIterable[EmbeddingItem], unanswered: asyncio.Semaphore) -> None:
    try:
        async for item in items:
            message = embeddings_pb2.StreamEmbeddingsRequest(item=embedding_item_to_proto(item))
            await unanswered.acquire()
            await call.write(message)
        await call.done_writing()
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
        return  # reading tells how the call ended
    except Exception:
        call.cancel()
        raise


async def _read_while(sending: "asyncio.Task[None]", call: BulkCall) -> Any:
    """Raises the failure of what is being sent, which has cancelled the call."""
    try:
        return await call.read()
    except asyncio.CancelledError:
        if sending.done():
            sending.result()
        raise


@contextmanager
def _errors_of_the_server() -> Iterator[None]:
    """Raises what a server of ours says about a failure in place of gRPC's own exception."""
    try:
        yield
    except grpc.aio.AioRpcError as failure:
        error = error_from_rpc(failure)
        if error is None:
            raise
        raise error from failure
