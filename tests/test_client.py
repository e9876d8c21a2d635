"""The typed client against a real server in this process."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing

import grpc
import pytest

from service import errors
from service.api.chat import ChatCompletionRequest
from service.api.completion import CompletionRequest
from service.api.content import TextContentItem, TextDelta
from service.api.embeddings import EmbeddingsRequest
from service.api.events import Complete, Event, Progress, Start
from service.api.messages import StopReason, UserMessage
from service.api.score import RerankDocument, RerankRequest, ScorePair, ScoreRequest, ScoreType
from service.api.tokenize import DetokenizeRequest, TokenizeRequest, TokenizeText
from service.client import Client, Tls
from service.errors import FieldViolation
from tests.canned_server import (
    ANSWER,
    EMBEDDER,
    LLM,
    TEXTS,
    TIMINGS,
    USAGE,
    VECTOR,
    CannedServer,
    running_canned_server,
)


@pytest.fixture
def server() -> Iterator[CannedServer]:
    with running_canned_server() as canned:
        yield canned


@pytest.fixture
async def client(server: CannedServer) -> AsyncIterator[Client]:
    async with Client(server.target) as client:
        yield client


def chat_request(model_id: str = "smol") -> ChatCompletionRequest:
    return ChatCompletionRequest(model_id=model_id, messages=(UserMessage(content="Where?"),))


def completion_request(model_id: str = "smol") -> CompletionRequest:
    return CompletionRequest(model_id=model_id, content="It is in")


def events_of(model_id: str, request_id: str) -> list[Event]:
    return [
        Start(0, model_id, request_id),
        *(Progress(number, TextDelta(text)) for number, text in enumerate(TEXTS, start=1)),
        Complete(4, StopReason.END_OF_TURN, USAGE, TIMINGS, ()),
    ]


class TestAnswers:
    async def test_chat(self, client: Client) -> None:
        answer = await client.chat(chat_request())
        assert answer.completion_message.content == ANSWER
        assert (answer.usage, answer.timings, answer.model_id) == (USAGE, TIMINGS, "smol")

    async def test_stream_chat(self, client: Client) -> None:
        events = [event async for event in client.stream_chat(chat_request(), request_id="a")]
        assert events == events_of("smol", "a")

    async def test_complete(self, client: Client) -> None:
        answer = await client.complete(completion_request())
        assert (answer.content, answer.stop_reason) == (ANSWER, StopReason.OUT_OF_TOKENS)

    async def test_stream_completion(self, client: Client) -> None:
        events = [event async for event in client.stream_completion(completion_request(), request_id="a")]
        assert events == events_of("smol", "a")

    async def test_embed(self, client: Client) -> None:
        contents = (TextContentItem(text="one"), TextContentItem(text="two"))
        answer = await client.embed(EmbeddingsRequest(model_id="mini", contents=contents))
        assert [tuple(embedding.values) for embedding in answer.embeddings] == [VECTOR, VECTOR]

    async def test_score(self, client: Client) -> None:
        pair = ScorePair(query="what?", document="that")
        answer = await client.score(ScoreRequest(model_id="mini", pairs=(pair, pair)))
        assert ([result.score for result in answer.results], answer.score_type) == ([0.25, 0.25], ScoreType.COSINE)

    async def test_rerank(self, client: Client) -> None:
        documents = (RerankDocument(text="one", id="a"), RerankDocument(text="two", id="b"))
        answer = await client.rerank(RerankRequest(model_id="mini", query="what?", documents=documents))
        assert [(result.index, result.id) for result in answer.results] == [(1, "b"), (0, "a")]

    async def test_tokens_and_back(self, client: Client) -> None:
        tokens = await client.tokenize(
            TokenizeRequest(model_id="smol", input=TokenizeText(text="aé"), return_pieces=True)
        )
        assert (tuple(tokens.token_ids), b"".join(tokens.pieces).decode()) == ((97, 0xC3, 0xA9), "aé")
        restored = await client.detokenize(DetokenizeRequest(model_id="smol", token_ids=tuple(tokens.token_ids)))
        assert (restored.text, restored.usage) == ("aé", USAGE)

    async def test_answers_may_be_larger_than_grpc_takes_by_default(self, client: Client) -> None:
        request = EmbeddingsRequest(model_id="large", contents=(TextContentItem(text="one"),))
        assert len((await client.embed(request)).embeddings[0].values) == 3_000_000

    async def test_models(self, client: Client) -> None:
        assert await client.models() == (EMBEDDER, LLM)
        assert await client.model("smol") == LLM

    async def test_is_serving(self, client: Client) -> None:
        assert await client.is_serving()
        assert not await client.is_serving("inferwire.v1.AdminService")


class TestCallOptions:
    async def test_the_request_id_arrives_as_metadata(self, client: Client, server: CannedServer) -> None:
        answer = await client.chat(chat_request(), request_id="mine-1")
        assert server.metadata[0]["x-request-id"] == "mine-1"
        assert answer.request_id == "mine-1"

    async def test_without_a_request_id_none_is_sent(self, client: Client, server: CannedServer) -> None:
        await client.chat(chat_request())
        assert "x-request-id" not in server.metadata[0]

    async def test_a_deadline_that_passes_is_grpc_s_own_error(self, client: Client) -> None:
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            _ = [event async for event in client.stream_chat(chat_request("endless"), timeout_s=0.2)]
        assert failure.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


class TestTokens:
    async def test_a_token_goes_along_with_every_call(self, server: CannedServer) -> None:
        async with Client(server.target, token="s3cret") as client:
            await client.chat(chat_request())
            _ = [event async for event in client.stream_chat(chat_request(), request_id="a")]
        assert [sent["authorization"] for sent in server.metadata] == ["Bearer s3cret"] * 2

    async def test_a_function_is_asked_for_it_each_time(self, server: CannedServer) -> None:
        tokens = iter(["one", "two"])
        async with Client(server.target, token=lambda: next(tokens)) as client:
            await client.chat(chat_request())
            await client.complete(completion_request())
        assert [sent["authorization"] for sent in server.metadata] == ["Bearer one", "Bearer two"]

    async def test_without_one_nothing_is_sent(self, client: Client, server: CannedServer) -> None:
        await client.chat(chat_request())
        assert "authorization" not in server.metadata[0]

    @pytest.mark.parametrize("token", ["s3cret\n", "s3 cret", "s3crèt"])
    async def test_what_can_not_be_sent_is_refused_and_not_shown(self, server: CannedServer, token: str) -> None:
        async with Client(server.target, token=token) as client:
            with pytest.raises(ValueError, match="printable ASCII") as refused:
                await client.chat(chat_request())
        assert token not in str(refused.value)


class TestFailures:
    async def test_an_error_of_the_server_becomes_its_class(self, client: Client) -> None:
        with pytest.raises(errors.ModelNotFound, match="There is no model `missing`") as failure:
            await client.chat(chat_request("missing"))
        assert failure.value.metadata == {"known_models": "smol,mini"}
        assert isinstance(failure.value.__cause__, grpc.aio.AioRpcError)

    async def test_it_keeps_the_delay_of_a_retry(self, client: Client) -> None:
        with pytest.raises(errors.Overloaded) as failure:
            await client.complete(completion_request("busy"))
        assert failure.value.retry_after_s == 1.5

    async def test_it_keeps_the_fields(self, client: Client) -> None:
        with pytest.raises(errors.InvalidField) as failure:
            _ = [event async for event in client.stream_chat(chat_request("wrong"))]
        assert failure.value.violations == [
            FieldViolation("sampling_params.top_p.temperature", "Too hot.", "INVALID_FIELD"),
            FieldViolation("messages[0].user.content", "Too long.", "INVALID_FIELD"),
        ]

    async def test_a_call_that_the_server_cancels_is_not_taken_for_our_own_cancellation(self, client: Client) -> None:
        with pytest.raises(errors.AbortedByServer):
            _ = [event async for event in client.stream_completion(completion_request("aborted"))]
        with pytest.raises(errors.AbortedByServer):
            await client.model("aborted")

    async def test_a_failure_amid_a_stream_comes_after_its_events(self, client: Client) -> None:
        seen: list[Event] = []

        async def read() -> None:
            async for event in client.stream_chat(chat_request("dies"), request_id="a"):
                seen.append(event)  # noqa: PERF401  a comprehension would lose them

        with pytest.raises(grpc.aio.AioRpcError, match="the wire is cut"):
            await read()
        assert seen == events_of("dies", "a")[:-1]

    async def test_what_is_not_ours_passes_unchanged(self, client: Client) -> None:
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await client.is_serving("no.such.Service")
        assert failure.value.code() is grpc.StatusCode.NOT_FOUND

    @pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED])
    async def test_a_server_that_ends_or_is_away_is_tried_again(
        self, client: Client, server: CannedServer, code: grpc.StatusCode
    ) -> None:
        server.refuses_times, server.refusal = 3, code
        assert (await client.chat(chat_request())).completion_message.content == ANSWER
        assert len(server.requests) == 4

    async def test_but_not_for_ever(self, client: Client, server: CannedServer) -> None:
        server.refuses_times = 100
        with pytest.raises(grpc.aio.AioRpcError, match="not now"):
            await client.chat(chat_request())
        assert len(server.requests) == 4


class TestCancellation:
    @pytest.fixture(params=["chat", "completion"])
    def endless(self, request: pytest.FixtureRequest, client: Client) -> AsyncGenerator[Event, None]:
        if request.param == "chat":
            return client.stream_chat(chat_request("endless"))
        return client.stream_completion(completion_request("endless"))

    async def test_closing_a_stream_cancels_the_call(
        self, server: CannedServer, endless: AsyncGenerator[Event, None]
    ) -> None:
        async with aclosing(endless):
            assert isinstance(await anext(endless), Start)
            assert await asyncio.to_thread(server.streaming.wait, 5)
            assert not server.cancelled.is_set()
        assert await asyncio.to_thread(server.cancelled.wait, 5)

    async def test_cancelling_the_reader_cancels_the_call(
        self, server: CannedServer, endless: AsyncGenerator[Event, None]
    ) -> None:
        async def read() -> None:
            async for _ in endless:
                pass

        reader = asyncio.create_task(read())
        assert await asyncio.to_thread(server.streaming.wait, 5)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        assert await asyncio.to_thread(server.cancelled.wait, 5)

    async def test_a_stream_that_is_never_read_calls_nobody(self, client: Client, server: CannedServer) -> None:
        await client.stream_chat(chat_request()).aclose()
        await client.chat(chat_request())
        assert len(server.requests) == 1


class TestChannels:
    async def test_a_channel_of_the_caller_stays_open(self, server: CannedServer) -> None:
        async with grpc.aio.insecure_channel(server.target) as channel:
            async with Client.over(channel) as client:
                assert await client.is_serving()
            async with Client.over(channel) as client:
                assert await client.is_serving()

    async def test_nobody_there(self) -> None:
        async with Client("127.0.0.1:1") as client:
            with pytest.raises(grpc.aio.AioRpcError) as failure:
                await client.models()
            assert failure.value.code() is grpc.StatusCode.UNAVAILABLE

    async def test_tls_does_not_fall_back_to_plain_text(self, server: CannedServer) -> None:
        async with Client(server.target, tls=Tls()) as client:
            with pytest.raises(grpc.aio.AioRpcError) as failure:
                await client.models(timeout_s=5)
            assert failure.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
