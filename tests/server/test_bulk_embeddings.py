"""StreamEmbeddings as callers see it: a result for each item, bounded work, and a true end."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import grpc
import psutil
import pytest
from google.rpc import error_details_pb2 as details_pb
from google.rpc import status_pb2

from inferwire.v1 import embeddings_pb2 as pb
from service import errors
from service.api.content import TextContentItem
from service.api.embeddings import EmbeddingItem, EmbeddingOptions
from service.client import Client
from service.engines.scripted import CONTEXT_LENGTH, DIMENSION
from service.settings import AdmissionSettings
from tests.server.bulk import VECTOR, CountedItems, Message, PatientEngine, item, items, options, results, stream
from tests.server.serving import EMBEDDER, LIMITS, LLM, Failure, Running, request, running, trailing
from tests.server.test_cancel import until

Code = grpc.StatusCode
PICTURE = Message(item={"id": "picture", "content": {"image": {"url": "https://example.com/cat.png"}}})
FEW = LIMITS.max_stream_items
# What HTTP/2 carries before its receiver has read anything, and more.
IN_TRANSIT_BYTES = 8 * 2**20


async def failure(server: Running, messages: Any, **metadata: str) -> Failure:
    try:
        async for _ in stream(server, messages, **metadata):
            pass
    except grpc.aio.AioRpcError as error:
        return Failure.of(error)
    raise AssertionError("The stream succeeded")


def status(answer: pb.StreamEmbeddingsResponse) -> Failure:
    """The error of an item, read as what its bytes are."""
    packed = status_pb2.Status.FromString(answer.error.SerializeToString())
    [code] = (code for code in Code if code.value[0] == packed.code)
    return Failure(code, packed.message, {}, list(packed.details))


class TestResults:
    async def test_each_item_has_its_own_vector(self, server: Running) -> None:
        texts = [f"text {number}" for number in range(100)]
        answers = await results(server, items(*texts))
        for start in range(0, 100, LIMITS.max_contents):
            contents = [{"text": text} for text in texts[start : start + LIMITS.max_contents]]
            [unary] = await server.answers("Embeddings", request("Embeddings", model_id=EMBEDDER, contents=contents))
            for number, embedding in enumerate(unary.embeddings, start):
                assert answers[str(number)].embedding == embedding

    async def test_options_hold_for_all_items(self, server: Running) -> None:
        asked = options(output_dimension=8, encoding="EMBEDDING_ENCODING_FLOAT16", text_truncation=2)
        answers = await results(server, [asked, item("a"), item("b", "x" * (CONTEXT_LENGTH + 5))])
        assert [len(answer.embedding.packed) for answer in answers.values()] == [16, 16]
        long = answers["b"].embedding
        assert (long.truncated, long.original_tokens - long.used_tokens) == (True, 5)
        assert not answers["a"].embedding.truncated

    async def test_a_stream_without_items_ends_well(self, server: Running) -> None:
        assert await results(server, [options()]) == {}

    async def test_an_id_may_be_used_again_once_it_is_answered(self, server: Running) -> None:
        under_way = stream(server, None)
        await under_way.write(options())
        for _ in range(50):
            await under_way.write(item("same"))
            assert (await under_way.read()).id == "same"
        await under_way.done_writing()
        assert await under_way.read() is grpc.aio.EOF

    async def test_the_usage_of_all_items_is_at_the_end(self, server: Running) -> None:
        under_way = stream(server, items("one", "", "three"))
        used = [answer.embedding.used_tokens async for answer in under_way]
        assert trailing(await under_way.trailing_metadata())["inferwire-prompt-tokens"] == str(sum(used)) == "8"


class TestWrongItems:
    async def test_the_stream_goes_on(self, server: Running) -> None:
        no_content = Message(item={"id": "none"})
        wrong = [item("empty", ""), PICTURE, no_content, item("long", "x" * (CONTEXT_LENGTH + 1))]
        answers = await results(server, [options(), *wrong, item("good")])
        assert answers["good"].HasField("embedding")
        told = {
            id_: (status(answer).code, status(answer).reason, status(answer).fields)
            for id_, answer in answers.items()
            if id_ != "good"
        }
        assert told == {
            "empty": (Code.INVALID_ARGUMENT, "INVALID_FIELD", ["item.content.text"]),
            "picture": (Code.INVALID_ARGUMENT, "UNSUPPORTED_BY_MODEL", ["item.content.image"]),
            "none": (Code.INVALID_ARGUMENT, "INVALID_FIELD", ["item.content"]),
            "long": (Code.INVALID_ARGUMENT, "CONTEXT_LENGTH_EXCEEDED", ["item.content.text"]),
        }

    async def test_an_error_has_the_details_of_a_refused_call(self, server: Running) -> None:
        answers = [answer async for answer in stream(server, [options(), item("a", "")], **{"x-request-id": "mine"})]
        told = status(answers[0])
        contents = [{"text": ""}]
        refused = await server.failure(
            "Embeddings", request("Embeddings", model_id=EMBEDDER, contents=contents), x_request_id="mine"
        )
        assert told.message == refused.message.replace("contents[0]", "item.content")
        assert [detail.TypeName() for detail in told.details] == [detail.TypeName() for detail in refused.details]
        assert (told.request_id, told.detail(details_pb.ErrorInfo)) == ("mine", refused.detail(details_pb.ErrorInfo))


@pytest.mark.parametrize(
    ("messages", "code", "reason", "fields"),
    [
        ([], Code.INVALID_ARGUMENT, "INVALID_FIELD", ["options"]),
        ([item("a")], Code.INVALID_ARGUMENT, "INVALID_FIELD", ["options"]),
        ([Message()], Code.INVALID_ARGUMENT, "INVALID_FIELD", [""]),
        ([options(model_id="")], Code.INVALID_ARGUMENT, "INVALID_FIELD", ["options.model_id"]),
        ([options(model_id="x")], Code.NOT_FOUND, "MODEL_NOT_FOUND", []),
        ([options(model_id=LLM)], Code.FAILED_PRECONDITION, "WRONG_MODEL_TYPE", []),
        ([options(task_type=1)], Code.INVALID_ARGUMENT, "UNSUPPORTED_BY_MODEL", ["options.task_type"]),
        ([options(encoding=99)], Code.INVALID_ARGUMENT, "UNKNOWN_FIELD", ["options.encoding"]),
        (
            [options(output_dimension=DIMENSION + 1)],
            Code.INVALID_ARGUMENT,
            "INVALID_FIELD",
            ["options.output_dimension"],
        ),
        ([options(), options()], Code.INVALID_ARGUMENT, "INVALID_FIELD", ["options"]),
        ([options(), item("")], Code.INVALID_ARGUMENT, "INVALID_FIELD", ["item.id"]),
        ([options(), item("a", "x" * LIMITS.max_request_bytes)], Code.INVALID_ARGUMENT, "MESSAGE_TOO_LARGE", [""]),
    ],
)
async def test_what_is_no_items_fault_ends_the_stream(
    server: Running, messages: list[Message], code: Code, reason: str, fields: list[str]
) -> None:
    told = await failure(server, messages, **{"x-request-id": "mine"})
    assert (told.code, told.reason, told.fields, told.request_id) == (code, reason, fields, "mine")


async def test_two_unanswered_items_of_one_id_end_the_stream() -> None:
    engine = PatientEngine()
    async with running(engine) as server:
        told = await failure(server, [options(), item("a"), item("a")])
        assert (told.reason, told.fields, engine.running) == ("INVALID_FIELD", ["item.id"], 0)


class TestBounds:
    async def test_a_full_engine_stops_the_reading(self) -> None:
        engine = PatientEngine()
        sent = CountedItems(100_000, "x" * 3000)
        async with running(engine) as server:
            under_way = stream(server, sent)
            await until(lambda: engine.running == FEW)
            await settled(lambda: sent.taken)
            assert engine.begun == FEW
            assert sent.taken < FEW + IN_TRANSIT_BYTES / 3000
            under_way.cancel()
            await until(lambda: engine.running == 0)

    async def test_one_who_reads_nothing_stops_it(self) -> None:
        engine = PatientEngine(let=True)
        sent = CountedItems(100_000)
        async with running(engine) as server:
            under_way = stream(server, sent)
            await settled(lambda: engine.begun)
            begun, memory = engine.begun, psutil.Process().memory_info().rss
            assert FEW <= begun < FEW + IN_TRANSIT_BYTES / (4 * len(VECTOR))
            await asyncio.sleep(0.2)
            assert engine.begun == begun
            assert psutil.Process().memory_info().rss - memory < 10 * 2**20
            under_way.cancel()

    async def test_bytes_are_bounded_too(self) -> None:
        engine = PatientEngine()
        async with running(engine, limits={"max_stream_bytes": 10_000}) as server:
            under_way = stream(server, CountedItems(1000, "x" * 3000))
            await until(lambda: engine.running == 4)
            await asyncio.sleep(0.1)
            assert engine.begun == 4
            under_way.cancel()

    async def test_a_full_queue_delays_items_and_fails_none(self) -> None:
        engine = PatientEngine(let=True)
        narrow = AdmissionSettings(max_running_requests=2, max_queued_requests=0)
        async with running(engine, admission=narrow) as server:
            streams = await asyncio.gather(*(results(server, items(*"abcdefghij" * 10)) for _ in range(3)))
            assert all(answer.HasField("embedding") for answers in streams for answer in answers.values())
            assert [len(answers) for answers in streams] == [100] * 3
            assert engine.most_running <= 2

    async def test_items_of_several_streams_run_together(self) -> None:
        engine = PatientEngine()
        async with running(engine) as server:
            streams = [stream(server, items("a", "b", "c")) for _ in range(5)]
            await until(lambda: engine.running == 15)
            engine.let.set()
            for under_way in streams:
                assert len([answer async for answer in under_way]) == 3

    async def test_a_unary_call_does_not_wait_behind_a_stream(self) -> None:
        engine = PatientEngine()
        narrow = AdmissionSettings(max_running_requests=1, max_queued_requests=2)
        async with running(engine, admission=narrow) as server:
            bulk = stream(server, CountedItems(1000))
            await until(lambda: engine.running == 1)
            unary = server.call("Embeddings", request("Embeddings", model_id=EMBEDDER, contents=[{"text": "unary"}]))
            await asyncio.sleep(0.1)
            engine.let.set()
            assert (await unary).embeddings
            # Behind the one item that ran and the one that waited.
            assert engine.lengths.index(len("unary")) <= 2
            bulk.cancel()


async def settled(counted: Callable[[], int]) -> None:
    """Until it grows no more."""
    before = -1
    while before != counted():
        before = counted()
        await asyncio.sleep(0.3)


class TestEnd:
    async def test_a_cancel_in_the_middle_frees_the_engine(self) -> None:
        engine = PatientEngine()
        async with running(engine) as server:
            under_way = stream(server, CountedItems(1000))
            await until(lambda: engine.running == FEW)
            under_way.cancel()
            await until(lambda: engine.running == 0)
            assert await under_way.code() is Code.CANCELLED

    async def test_a_deadline_ends_it_and_tells_what_it_has_cost(self) -> None:
        engine = PatientEngine()
        async with running(engine) as server:
            under_way = stream(server, open_ended("a", "b"), timeout_s=0.5)
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await under_way.read()
            told = Failure.of(failed.value)
            assert (told.code, told.reason) == (Code.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
            assert told.trailing["inferwire-prompt-tokens"] == "2"
            assert engine.running == 0

    async def test_a_drain_lets_it_finish(self) -> None:
        engine = PatientEngine()
        async with running(engine) as server:
            under_way = stream(server, items("a", "b"))
            await until(lambda: engine.running == 2)
            server.stop()
            await asyncio.sleep(0.2)
            engine.let.set()
            assert len([answer async for answer in under_way]) == 2
            assert await server.exit_code() == 0

    async def test_a_drain_ends_one_that_goes_on(self) -> None:
        engine = PatientEngine(let=True)
        async with running(engine, grace_s=1) as server:
            under_way = stream(server, open_ended("a", "b"))
            assert {(await under_way.read()).id, (await under_way.read()).id} == {"0", "1"}
            server.stop()
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await under_way.read()
            assert Failure.of(failed.value).reason == "DRAINING"
            assert await server.exit_code() == 0

    async def test_a_failed_engine_ends_it(self) -> None:
        class Fails(PatientEngine):
            async def embed(self, *arguments: Any) -> Any:
                await super().embed(*arguments)
                raise errors.EngineFailed("It died.", retry_after_s=1.0)

        engine = Fails(let=True)
        async with running(engine) as server:
            told = await failure(server, open_ended("a", "b", "c"))
            assert (told.code, told.reason, told.retry_after_s) == (Code.UNAVAILABLE, "ENGINE_FAILED", 1.0)
            assert engine.running == 0


async def open_ended(*texts: str) -> AsyncIterator[Message]:
    for message in items(*texts):
        yield message
    await asyncio.Event().wait()


class TestTypedClient:
    OPTIONS = EmbeddingOptions(model_id=EMBEDDER)

    async def test_a_refusal_is_never_lost(self, server: Running) -> None:
        client = Client.over(server.channel)
        for _ in range(50):
            with pytest.raises(errors.ModelNotFound):
                await anext(client.stream_embed(EmbeddingOptions(model_id="x"), numbered(10_000)))

    async def test_results_of_many_items(self, server: Running) -> None:
        client = Client.over(server.channel)
        outcomes = {result.id: result.outcome async for result in client.stream_embed(self.OPTIONS, numbered(1000))}
        assert outcomes.keys() == {str(number) for number in range(1000)}
        [wrong] = (outcome for outcome in outcomes.values() if isinstance(outcome, errors.RequestError))
        assert (wrong.violations[0].field, wrong.reason) == ("item.content.text", "INVALID_FIELD")

    async def test_a_failure_of_the_items_is_raised(self, server: Running) -> None:
        async def failing() -> AsyncIterator[EmbeddingItem]:
            async for each in numbered(3):
                yield each
            raise ZeroDivisionError

        client = Client.over(server.channel)
        with pytest.raises(ZeroDivisionError):
            _ = [result async for result in client.stream_embed(self.OPTIONS, failing())]

    async def test_closing_it_early_frees_the_engine(self) -> None:
        engine = PatientEngine(let=True)
        async with running(engine) as server:
            client = Client.over(server.channel)
            async with aclosing(client.stream_embed(self.OPTIONS, numbered(100_000))) as bulk:
                await anext(bulk)
                engine.let.clear()
            await until(lambda: engine.running == 0)

    async def test_one_that_ends_in_the_middle_is_no_success(self) -> None:
        """gRPC's client may have lost the status: see UNANSWERED_ITEMS."""
        async with running(PatientEngine(let=True)) as server:
            client = Client.over(server.channel)
            with pytest.raises((errors.MessageTooLarge, grpc.aio.AioRpcError)):
                _ = [result async for result in client.stream_embed(self.OPTIONS, too_large_after(100))]


async def numbered(count: int) -> AsyncIterator[EmbeddingItem]:
    """The eighth is empty."""
    for number in range(count):
        yield EmbeddingItem(id=str(number), content=TextContentItem(text="" if number == 7 else f"text {number}"))


async def too_large_after(count: int) -> AsyncIterator[EmbeddingItem]:
    for number in range(2 * count):
        text = "x" * LIMITS.max_request_bytes if number == count else "text"
        yield EmbeddingItem(id=str(number), content=TextContentItem(text=text))
