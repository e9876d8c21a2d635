"""A real gRPC server with fixed answers, for the tests of the client and the command line.

grpcio-testing's fake channel has no asynchronous calls, so it can't stand under the client. The server is a
synchronous one: it needs no event loop, so that commands can run their own.
"""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import grpc
from google.protobuf.message import Message
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from inferwire.v1 import admin_service_pb2_grpc, inference_service_pb2_grpc, model_service_pb2_grpc, models_pb2
from service import errors
from service.api.chat import ChatCompletionResponse
from service.api.completion import CompletionResponse
from service.api.content import ReasoningDelta, TextDelta, ToolCallDelta, ToolCallParseStatus
from service.api.embeddings import Embedding, EmbeddingEncoding, EmbeddingResult, EmbeddingsResponse
from service.api.events import Complete, Event, Progress, Start
from service.api.load import ModelLoad, ServerLoad
from service.api.messages import CompletionMessage, StopReason
from service.api.models import Model, ModelLimits, ModelState, ModelType
from service.api.score import RerankResponse, RerankResult, ScoreResponse, ScoreResult, ScoreType
from service.api.tokenize import DetokenizeResponse, TokenizeResponse
from service.api.tools import ToolCall, ToolCallVerdict
from service.api.usage import Timings, Usage
from service.api.vectors import pack
from service.wire.chat import chat_chunk_to_proto, chat_request_from_proto, chat_response_to_proto
from service.wire.completion import completion_chunk_to_proto, completion_response_to_proto
from service.wire.embeddings import answer_from_result, embeddings_response_to_proto
from service.wire.load import server_load_to_proto
from service.wire.models import model_to_proto
from service.wire.score import rerank_response_to_proto, score_response_to_proto
from service.wire.status import status_from_error
from service.wire.tokenize import detokenize_response_to_proto, tokenize_response_to_proto

LONGEST_S = 30
THOUGHTS = ("He asks ", "where.")
USAGE = Usage(prompt_tokens=7, cached_tokens=2, completion_tokens=3, neutralized_spans=1)
TIMINGS = Timings(queued_s=0.001, time_to_first_token_s=0.25, total_s=0.5)
TEXTS = ("Paris", " is", " it.")
ANSWER = "".join(TEXTS)
VECTOR = (0.5, -0.25, 1.0)
LOAD = ServerLoad((ModelLoad("smol", 2, 1, 0.25, 1500, ModelState.READY, 0, 0),), 3, False)
LLM = Model(
    identifier="smol",
    provider_resource_id="Smol-1B",
    provider_id="vllm",
    model_type=ModelType.LLM,
    limits=ModelLimits(context_length=2048, max_request_bytes=2**20),
)
EMBEDDER = Model(
    identifier="mini",
    provider_resource_id="Mini",
    provider_id="vllm",
    model_type=ModelType.EMBEDDING,
    metadata={"embedding_dimension": 3},
)

# What a model id of this name makes the server do.
FAILURES: dict[str, errors.InferwireError] = {
    "missing": errors.ModelNotFound("There is no model `missing`.", metadata={"known_models": "smol,mini"}),
    "busy": errors.Overloaded("The queue is full.", retry_after_s=1.5),
    "aborted": errors.AbortedByServer("An operator ended the call."),
    "wrong": errors.InvalidField.of(
        [
            errors.FieldViolation("sampling_params.top_p.temperature", "Too hot."),
            errors.FieldViolation("messages[0].user.content", "Too long."),
        ]
    ),
}


@dataclass
class CannedServer:
    """Where it listens, and what it has heard."""

    target: str = ""
    requests: list[Message] = field(default_factory=list)
    metadata: list[dict[str, Any]] = field(default_factory=list)
    streaming: threading.Event = field(default_factory=threading.Event)
    may_answer: threading.Event = field(default_factory=threading.Event)
    cancelled: threading.Event = field(default_factory=threading.Event)
    load: ServerLoad = LOAD
    """What is told first; each further answer has a thousand tokens more."""
    refuses_times: int = 0
    refusal: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE

    def take(self, request: Any, context: grpc.ServicerContext) -> str:
        """Records a call, and fails it if its model id says so."""
        self.requests.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        if request.model_id == "late":
            self.may_answer.wait(LONGEST_S)
        if self.refuses_times:
            self.refuses_times -= 1
            context.abort(self.refusal, "not now")
        if request.model_id in FAILURES:
            status = status_from_error(FAILURES[request.model_id], "the-id")
            context.set_trailing_metadata(status.trailing_metadata)
            context.abort(status.code, status.message)
        return self.metadata[-1].get("x-request-id", "made-by-server")

    def events(self, request: Any, context: grpc.ServicerContext) -> Iterator[Event]:
        yield Start(0, request.model_id, self.take(request, context))
        if wants_a_call(request):
            verdict = ToolCallVerdict.TRUNCATED if request.model_id == "truncates" else ToolCallVerdict.COMPLETE
            yield from calls(request.tools[0].tool_name.custom, verdict)
            yield Complete(4, StopReason.END_OF_MESSAGE, USAGE, TIMINGS, ())
            return
        if request.model_id == "thinks":
            yield from self._thoughtful(request)
            return
        for number, text in enumerate(TEXTS, start=1):
            yield Progress(number, TextDelta(text))
        if request.model_id == "endless":
            yield from self._until_cancelled(context)
        if request.model_id == "dies":
            context.abort(grpc.StatusCode.DATA_LOSS, "the wire is cut")
        yield Complete(4, StopReason.END_OF_TURN, USAGE, TIMINGS, ())

    def _thoughtful(self, request: Any) -> Iterator[Event]:
        usage = replace(USAGE, reasoning_tokens=2)
        for number, thought in enumerate(THOUGHTS, start=1):
            yield Progress(number, ReasoningDelta(thought))
        yield Progress(3, TextDelta(ANSWER))
        yield Complete(
            4, StopReason.END_OF_TURN, usage, TIMINGS, (), reasoning_truncated=bool(request.reasoning.max_tokens)
        )

    def _until_cancelled(self, context: grpc.ServicerContext) -> Iterator[Event]:
        gone = threading.Event()
        context.add_callback(gone.set)
        self.streaming.set()
        number = 4
        while not gone.wait(0.01):
            yield Progress(number, TextDelta("…"))
            number += 1
        self.cancelled.set()


def wants_a_call(request: Any) -> bool:
    """Until a tool has answered; of the model `insists`, always."""
    if not getattr(request, "tools", None):
        return False
    return request.model_id == "insists" or request.messages[-1].WhichOneof("message") != "tool"


def calls(tool_name: str, verdict: ToolCallVerdict) -> Iterator[Event]:
    """The events of one call, which is written in two pieces."""
    arguments = '{"city": "Paris"}'
    whole = ToolCall(call_id="call-1", tool_name=tool_name, arguments_json=arguments, verdict=verdict)
    status = ToolCallParseStatus.SUCCEEDED
    if verdict is not ToolCallVerdict.COMPLETE:
        status = ToolCallParseStatus.FAILED
        told = {"arguments_json": "", "problem": "It ends too early.", "raw_text": '{"name": "get_w'}
        whole = whole.model_copy(update=told)
    yield Progress(1, TextDelta("Let me see."))
    yield Progress(2, ToolCallDelta(None, ToolCallParseStatus.STARTED, 0, "call-1"))
    yield Progress(3, ToolCallDelta(arguments, ToolCallParseStatus.IN_PROGRESS, 0, "call-1"))
    yield Progress(4, ToolCallDelta(whole, status, 0, "call-1"))


class CannedInference(inference_service_pb2_grpc.InferenceServiceServicer):
    def __init__(self, server: CannedServer) -> None:
        self._server = server

    def ChatCompletion(self, request: Any, context: grpc.ServicerContext) -> Message:
        chat_request_from_proto(request)
        request_id = self._server.take(request, context)
        message = CompletionMessage(content=ANSWER, stop_reason=StopReason.END_OF_TURN)
        return chat_response_to_proto(
            ChatCompletionResponse(message, (), (), USAGE, TIMINGS, None, request.model_id, request_id)
        )

    def StreamChatCompletion(self, request: Any, context: grpc.ServicerContext) -> Iterator[Message]:
        return map(chat_chunk_to_proto, self._server.events(request, context))

    def Completion(self, request: Any, context: grpc.ServicerContext) -> Message:
        request_id = self._server.take(request, context)
        return completion_response_to_proto(
            CompletionResponse(
                ANSWER, StopReason.OUT_OF_TOKENS, (), (), USAGE, TIMINGS, None, request.model_id, request_id
            )
        )

    def StreamCompletion(self, request: Any, context: grpc.ServicerContext) -> Iterator[Message]:
        return map(completion_chunk_to_proto, self._server.events(request, context))

    def Embeddings(self, request: Any, context: grpc.ServicerContext) -> Message:
        request_id = self._server.take(request, context)
        values = VECTOR * 1_000_000 if request.model_id == "large" else VECTOR
        embeddings = [Embedding(values, b"", False, 4, 4) for _ in request.contents]
        return embeddings_response_to_proto(
            EmbeddingsResponse(embeddings, USAGE, TIMINGS, request.model_id, request_id)
        )

    def Rerank(self, request: Any, context: grpc.ServicerContext) -> Message:
        """The last document is the best."""
        request_id = self._server.take(request, context)
        results = [
            RerankResult(index, 0.25 * index, document.id, None, False, 4, 4)
            for index, document in enumerate(request.documents)
        ]
        best = results[::-1][: request.top_n or None]
        answer = RerankResponse(best, ScoreType.COSINE, USAGE, TIMINGS, request.model_id, request_id)
        return rerank_response_to_proto(answer)

    def Score(self, request: Any, context: grpc.ServicerContext) -> Message:
        request_id = self._server.take(request, context)
        results = [ScoreResult(0.25, False, 4, 4) for _ in request.pairs]
        answer = ScoreResponse(results, ScoreType.COSINE, USAGE, TIMINGS, request.model_id, request_id)
        return score_response_to_proto(answer)

    def Tokenize(self, request: Any, context: grpc.ServicerContext) -> Message:
        """One token a byte."""
        request_id = self._server.take(request, context)
        data = request.text.text.encode()
        pieces = [bytes([byte]) for byte in data] if request.return_pieces else []
        answer = TokenizeResponse(list(data), pieces, (), len(data), 2048, USAGE, TIMINGS, request.model_id, request_id)
        return tokenize_response_to_proto(answer)

    def Detokenize(self, request: Any, context: grpc.ServicerContext) -> Message:
        request_id = self._server.take(request, context)
        data = bytes(request.token_ids)
        answer = DetokenizeResponse(data.decode(), data, USAGE, TIMINGS, request.model_id, request_id)
        return detokenize_response_to_proto(answer)

    def StreamEmbeddings(self, messages: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Message]:
        self._server.take(next(messages).options, context)
        context.send_initial_metadata(())
        for message in messages:
            self._server.requests.append(message.item)
            yield answer_from_result(self._bulk_result(message.item), "the-id")

    def _bulk_result(self, item: Any) -> EmbeddingResult:
        if item.content.text == "wrong":
            return EmbeddingResult(item.id, errors.InvalidField("item.content.text", "It is wrong."))
        packed = pack(VECTOR, EmbeddingEncoding.FLOAT32)
        return EmbeddingResult(item.id, Embedding((), packed.data, False, 4, 4))


class CannedModels(model_service_pb2_grpc.ModelServiceServicer):
    def __init__(self, server: CannedServer) -> None:
        self._server = server

    def ListModels(self, request: Any, context: grpc.ServicerContext) -> Message:
        return models_pb2.ListModelsResponse(models=map(model_to_proto, (EMBEDDER, LLM)))

    def GetModel(self, request: Any, context: grpc.ServicerContext) -> Message:
        self._server.take(request, context)
        return models_pb2.GetModelResponse(model=model_to_proto(LLM))

    def RegisterModel(self, request: Any, context: grpc.ServicerContext) -> Message:
        self._server.take(request, context)
        named = {"identifier": request.model_id, "base_model_id": request.base_model_id}
        return models_pb2.RegisterModelResponse(model=model_to_proto(LLM.model_copy(update=named)))

    def UnregisterModel(self, request: Any, context: grpc.ServicerContext) -> Message:
        self._server.take(request, context)
        return models_pb2.UnregisterModelResponse()


class CannedAdmin(admin_service_pb2_grpc.AdminServiceServicer):
    def __init__(self, server: CannedServer) -> None:
        self._server = server

    def GetLoad(self, request: Any, context: grpc.ServicerContext) -> Message:
        told = self._server.load
        self._server.load = replace(told, models=[_busier(model) for model in told.models])
        return server_load_to_proto(told)


def _busier(load: ModelLoad) -> ModelLoad:
    return replace(load, generated_tokens_total=load.generated_tokens_total + 1000)


@contextmanager
def running_canned_server(credentials: grpc.ServerCredentials | None = None) -> Iterator[CannedServer]:
    canned = CannedServer()
    server = grpc.server(ThreadPoolExecutor(max_workers=8))
    inference_service_pb2_grpc.add_InferenceServiceServicer_to_server(CannedInference(canned), server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(CannedModels(canned), server)
    admin_service_pb2_grpc.add_AdminServiceServicer_to_server(CannedAdmin(canned), server)
    health_servicer = health.HealthServicer()
    health_servicer.set("inferwire.v1.AdminService", health_pb2.HealthCheckResponse.NOT_SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    address = "127.0.0.1:0"
    port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    canned.target = f"127.0.0.1:{port}"
    server.start()
    try:
        yield canned
    finally:
        server.stop(grace=None).wait()
