"""The end of a server: orderly, in a hurry, or because an engine is gone."""

import asyncio
import logging
import os
import signal
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service.engines.scripted import Reply, ScriptedLanguageEngine
from service.errors import EngineFailed
from tests.server.serving import LIMITS, LLM, call, language, request, running
from tests.server.slow_engines import FailsToLoad, SlowToLoad
from tests.server.test_calls import GENERATING, STREAMS, ask, event_type_of
from tests.server.test_cancel import until

COMPLETE = 2


class StopIsSeen(ScriptedLanguageEngine):
    """Tells how much was running when it was stopped."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(LLM, LIMITS, lambda _: reply)
        self.running_at_stop: list[int] = []

    async def stop(self) -> None:
        self.running_at_stop.append(self.running)
        await super().stop()


async def refused(address: str) -> bool:
    async with grpc.aio.insecure_channel(address) as channel:
        try:
            await call(channel, "ListModels", request("ListModels"))
        except grpc.aio.AioRpcError as error:
            return error.code() is grpc.StatusCode.UNAVAILABLE
        return False


@pytest.mark.parametrize("method", GENERATING)
async def test_calls_under_way_finish_and_the_server_ends_well(method: str) -> None:
    engine = StopIsSeen(Reply("abcdef", step_s=0.02))
    async with running(engine) as served:
        answer = asyncio.create_task(served.answers(method, ask(method)))
        await until(lambda: engine.running == 1)
        served.stop()
        *_, last = await answer
        assert last.usage.completion_tokens == 7
        if method in STREAMS:
            assert event_type_of(last) == COMPLETE
        assert await served.exit_code() == 0
        assert engine.running_at_stop == [0]


async def test_meanwhile_new_connections_are_refused() -> None:
    engine = language(Reply("x" * 50, step_s=0.02))
    async with running(engine) as served:
        answer = asyncio.create_task(served.answers("Completion", ask("Completion")))
        await until(lambda: engine.running == 1)
        served.stop()
        await asyncio.sleep(0.1)
        assert await refused(served.address)
        assert not answer.done()
        await answer


async def test_an_idle_server_ends_at_once() -> None:
    async with running(language(), grace_s=60) as served:
        served.stop()
        assert await asyncio.wait_for(served.exit_code(), 2) == 0


async def test_someone_who_watches_its_health_does_not_keep_it_from_ending() -> None:
    async with running(language(), grace_s=60) as served:
        watch = health_pb2_grpc.HealthStub(served.channel).Watch(health_pb2.HealthCheckRequest())
        await watch.read()
        served.stop()
        assert await asyncio.wait_for(served.exit_code(), 3) == 0


async def ended_early(grace_s: float, stops: int) -> Any:
    engine = StopIsSeen(Reply("abc", step_s=60))
    async with running(engine, grace_s=grace_s) as served:
        answer = asyncio.create_task(served.answers("StreamCompletion", ask("StreamCompletion")))
        await until(lambda: engine.running == 1)
        for _ in range(stops):
            served.stop()
            await asyncio.sleep(0.05)
        assert await asyncio.wait_for(served.exit_code(), 3) == 0
        assert engine.running_at_stop == [0]
        with pytest.raises(grpc.aio.AioRpcError):
            await answer


async def test_calls_that_outlast_the_grace_are_ended() -> None:
    await ended_early(grace_s=0.2, stops=1)


async def test_a_second_stop_does_not_wait_for_them() -> None:
    await ended_early(grace_s=60, stops=2)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops_the_server(number: signal.Signals) -> None:
    async with running(language()) as served:
        os.kill(os.getpid(), number)
        assert await served.exit_code() == 0


async def test_a_start_can_be_given_up() -> None:
    async with running(SlowToLoad(), wait=False) as served:
        await asyncio.sleep(0.05)
        served.stop()
        assert await served.exit_code() == 0
        assert not served.lifecycle.loaded
        assert not served.ready.is_set()


async def test_a_dead_engine_ends_the_server_with_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    engine, other = language(), ScriptedLanguageEngine("other", LIMITS)
    async with running(engine, other) as served:
        engine.die()
        assert await served.exit_code() == 1
        assert "died" in caplog.text
        assert not other.ready


async def test_calls_to_other_engines_still_finish() -> None:
    engine = ScriptedLanguageEngine("other", LIMITS)
    slow = language(Reply("abcdef", step_s=0.02))
    async with running(slow, engine) as served:
        answer = asyncio.create_task(served.answers("Completion", ask("Completion")))
        await until(lambda: slow.running == 1)
        engine.die()
        assert (await answer)[0].content == "abcdef"
        assert await served.exit_code() == 1


@pytest.mark.parametrize("warming_up", [False, True], ids=["loading", "warming up"])
@pytest.mark.parametrize(
    "error", [EngineFailed("The weights are gone."), RuntimeError("The weights are gone.")], ids=["known", "unknown"]
)
async def test_a_model_that_cannot_be_loaded_ends_the_server_and_says_why(
    caplog: pytest.LogCaptureFixture, error: Exception, warming_up: bool
) -> None:
    engine = FailsToLoad(error, warming_up=warming_up)
    with caplog.at_level(logging.ERROR):
        async with running(engine, SlowToLoad(), wait=False) as served:
            assert await served.exit_code() == 1
            assert not served.ready.is_set()
    assert "The weights are gone." in caplog.text
    assert engine.stopped
