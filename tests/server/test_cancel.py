"""A caller that goes away frees the engine, whenever it goes."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest

from service.engines.scripted import Reply, ScriptedLanguageEngine
from tests.server.serving import language, running
from tests.server.test_calls import GENERATING, STREAMS, ask


async def until(condition: Callable[[], bool], seconds: float = 5) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def never_ends() -> ScriptedLanguageEngine:
    return language(Reply("abc", step_s=60))


async def ended(under_way: Any) -> grpc.StatusCode:
    code: grpc.StatusCode = await under_way.code()
    return code


@pytest.mark.parametrize("method", GENERATING)
async def test_a_call_that_is_cancelled_before_its_first_token_frees_the_engine(method: str) -> None:
    engine = never_ends()
    async with running(engine) as served:
        under_way = served.call(method, ask(method))
        await until(lambda: engine.running == 1)
        under_way.cancel()
        await until(lambda: engine.running == 0)
        assert await ended(under_way) is grpc.StatusCode.CANCELLED


async def test_what_grpc_can_not_send_any_more_is_no_defect(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It may notice that a client is gone by failing to send, before it cancels the call."""
    caplog.set_level("INFO")
    engine = language()

    async def gone(request: Any) -> AsyncIterator[Any]:
        raise grpc.aio.InternalError("Failed to send")
        yield

    monkeypatch.setattr(engine, "generate", gone)
    async with running(engine) as served:
        under_way = served.call("StreamCompletion", ask("StreamCompletion"))
        await until(lambda: "CANCELLED" in [vars(record).get("code") for record in caplog.records])
        under_way.cancel()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.parametrize("method", STREAMS)
async def test_a_stream_that_is_cancelled_in_the_middle_frees_the_engine(method: str) -> None:
    engine = language(Reply("x" * 1000, step_s=0.01))
    async with running(engine) as served:
        under_way = served.call(method, ask(method))
        for _ in range(3):
            await under_way.read()
        assert engine.running == 1
        under_way.cancel()
        await until(lambda: engine.running == 0)


@pytest.mark.parametrize("method", STREAMS)
async def test_a_caller_that_does_not_read_and_goes_frees_the_engine(method: str) -> None:
    engine = language(Reply("x" * 4000))
    async with running(engine) as served:
        under_way = served.call(method, ask(method))
        await under_way.read()
        under_way.cancel()
        await until(lambda: engine.running == 0)


@pytest.mark.parametrize("method", GENERATING)
async def test_a_connection_that_is_closed_frees_the_engine(method: str) -> None:
    engine = never_ends()
    async with running(engine) as served:
        under_way = served.call(method, ask(method))
        await until(lambda: engine.running == 1)
        await served.channel.close()
        await until(lambda: engine.running == 0)
        under_way.cancel()


async def test_two_hundred_cancels_at_random_moments_leave_nothing_behind() -> None:
    engine = language(Reply("x" * 200, step_s=0.001))
    moments = random.Random(0)
    async with running(engine) as served:

        async def one() -> None:
            method = moments.choice(GENERATING)
            under_way = served.call(method, ask(method))
            await asyncio.sleep(moments.random() * 0.1)
            under_way.cancel()

        for _ in range(10):
            await asyncio.gather(*(one() for _ in range(20)))
        await until(lambda: engine.running == 0)
        served.stop()
        assert await served.exit_code() == 0
