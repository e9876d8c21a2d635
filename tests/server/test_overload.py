"""More work than there is room for: told at once, with a time to come back, and nobody pays for another's flood."""

import asyncio
import time
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2 as details_pb

from service.engines.scripted import Reply
from service.settings import AdmissionSettings
from tests.server.serving import EMBEDDER, LLM, Failure, answers, embedder, language, request, running
from tests.server.slow_engines import SlowToWrite
from tests.server.test_cancel import until

NARROW = AdmissionSettings(max_running_requests=2, max_queued_requests=3)
ONE_AFTER_THE_OTHER = AdmissionSettings(max_running_requests=2, max_queued_requests=0)


def chat(text: str = "Hi") -> Any:
    return request("ChatCompletion", model_id=LLM, messages=[{"user": {"content": {"text": text}}}])


async def outcome(under_way: Any) -> Failure | None:
    try:
        await answers(under_way)
    except grpc.aio.AioRpcError as error:
        return Failure.of(error)
    return None


async def test_what_fits_is_served_and_the_rest_is_told_when_to_come_back() -> None:
    engine = SlowToWrite()
    async with running(engine, admission=NARROW) as server:
        calls = [asyncio.create_task(outcome(server.call("ChatCompletion", chat()))) for _ in range(50)]
        await until(lambda: sum(call.done() for call in calls) == 45)
        engine.let_write.set()
        refused = [failure for failure in await asyncio.gather(*calls) if failure]
        assert len(refused) == 45
        assert {(failure.code, failure.reason) for failure in refused} == {
            (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
        }
        assert all(failure.retry_after_s for failure in refused)
        assert (await server.answers("ChatCompletion", chat()))[0].usage.completion_tokens > 0


async def test_a_refusal_takes_no_time_and_leaves_liveness_alone() -> None:
    async with running(language(Reply("word " * 1000, step_s=0.01)), admission=NARROW) as server:
        busy = [server.call("ChatCompletion", chat()) for _ in range(5)]
        await asyncio.sleep(0.2)
        begun_s = time.monotonic()
        for _ in range(20):
            assert (await server.failure("ChatCompletion", chat())).reason == "OVERLOADED"
        assert (time.monotonic() - begun_s) / 20 < 0.5
        models = await server.answers("ListModels", request("ListModels"))
        assert len(models[0].models) == 1
        for each in busy:
            each.cancel()


async def test_a_caller_who_leaves_the_queue_makes_room() -> None:
    async with running(language(Reply("word " * 1000, step_s=0.01)), admission=NARROW) as server:
        busy = [server.call("ChatCompletion", chat()) for _ in range(5)]
        await asyncio.sleep(0.2)
        busy[4].cancel()
        await asyncio.sleep(0.1)
        waiting = server.call("ChatCompletion", chat())
        await asyncio.sleep(0.1)
        assert not waiting.done()
        for each in (*busy, waiting):
            each.cancel()


async def test_a_refused_request_is_not_read_first() -> None:
    """A hostile one in a full queue would cost what it is refused for."""
    async with running(language(Reply("word " * 1000, step_s=0.01)), admission=NARROW) as server:
        busy = [server.call("ChatCompletion", chat()) for _ in range(5)]
        await asyncio.sleep(0.2)
        failure = await server.failure("ChatCompletion", chat("x" * 4000))
        assert failure.reason == "OVERLOADED"
        for each in busy:
            each.cancel()


@pytest.mark.parametrize("streamed", [True, False])
async def test_places_are_free_again_whatever_happened(streamed: bool) -> None:
    name = "StreamChatCompletion" if streamed else "ChatCompletion"
    async with running(language(Reply("abc", fail_after=1)), admission=ONE_AFTER_THE_OTHER) as server:
        for _ in range(10):
            failure = await server.failure(name, request(name, model_id=LLM, messages=chat().messages))
            assert failure.reason == "ENGINE_FAILED"


async def test_embeddings_have_places_too() -> None:
    engine = embedder()
    async with running(engine, admission=AdmissionSettings(max_running_tokens=1, max_queued_requests=1)) as server:
        texts = request("Embeddings", model_id=EMBEDDER, contents=[{"text": "a"}] * 4)
        outcomes = await asyncio.gather(*(outcome(server.call("Embeddings", texts)) for _ in range(3)))
        assert {failure.reason for failure in outcomes if failure} <= {"OVERLOADED"}
        assert any(failure is None for failure in outcomes)


async def test_the_refusal_says_how_much_there_is_to_do() -> None:
    async with running(language(Reply("word " * 1000, step_s=0.01)), admission=NARROW) as server:
        busy = [server.call("ChatCompletion", chat()) for _ in range(5)]
        await asyncio.sleep(0.2)
        failure = await server.failure("ChatCompletion", chat())
        assert failure.facts == {"running_requests": "2", "queued_requests": "3"}
        assert failure.detail(details_pb.BadRequest) is None
        for each in busy:
            each.cancel()
