"""The end of a server: orderly, in a hurry, or because an engine is gone."""

import asyncio
import logging
import os
import signal
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from inferwire.v1 import models_pb2
from service.engines.scripted import Reply, ScriptedLanguageEngine
from service.errors import EngineFailed
from service.server.health import LIVENESS
from service.settings import AdmissionSettings, EngineSettings, FailedLoadPolicy
from tests.server.serving import LIMITS, LLM, Running, call, language, request, running
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


ALL_OR_NONE = EngineSettings(on_failed_load=FailedLoadPolicy.EXIT)
RESTARTS = EngineSettings(max_restarts=2, restart_backoff_s=0.01)


class ComesBack(ScriptedLanguageEngine):
    """Fails so many of its starts but the first."""

    def __init__(self, failures: int = 0) -> None:
        super().__init__(LLM, LIMITS, lambda _: Reply("abc", step_s=0.05))
        self.starts = 0
        self.failures = failures

    async def start(self) -> None:
        self.starts += 1
        if 1 < self.starts <= 1 + self.failures:
            raise EngineFailed("The weights are gone.")
        await super().start()


async def health_of(served: Running) -> int:
    answer = await health_pb2_grpc.HealthStub(served.channel).Check(health_pb2.HealthCheckRequest())
    return int(answer.status)


@pytest.mark.parametrize("failures", [0, 1])
async def test_an_engine_that_died_is_brought_back(failures: int) -> None:
    engine = ComesBack(failures)
    async with running(engine, engine=RESTARTS) as served:
        engine.die()
        await until(lambda: engine.starts == 2 + failures and engine.ready)
        assert (await served.answers("Completion", ask("Completion")))[0].content == "abc"
        await asyncio.sleep(0.05)
        assert await health_of(served) == health_pb2.HealthCheckResponse.SERVING


async def test_meanwhile_health_says_so_and_calls_may_be_retried() -> None:
    engine = ComesBack()
    async with running(engine, engine=EngineSettings(restart_backoff_s=60)) as served:
        engine.die()
        await asyncio.sleep(0.1)
        assert await health_of(served) == health_pb2.HealthCheckResponse.NOT_SERVING
        failure = await served.failure("Completion", ask("Completion"))
        assert (failure.code, failure.reason) == (grpc.StatusCode.UNAVAILABLE, "ENGINE_FAILED")
        assert failure.retry_after_s
        [model] = (await served.answers("ListModels", request("ListModels")))[0].models
        assert model.state == models_pb2.MODEL_STATE_FAILED


@pytest.mark.parametrize("failures", [2, 0])
async def test_an_engine_that_does_not_come_back_or_stay_ends_the_server(failures: int) -> None:
    engine = ComesBack(failures)
    async with running(engine, engine=RESTARTS) as served:
        for _ in range(1 if failures else 3):
            await until(lambda: engine.ready)
            engine.die()
            await asyncio.sleep(0.1)
        assert await served.exit_code() == 1
        assert engine.starts == 3


async def test_new_calls_are_taken_until_the_window_is_over() -> None:
    async with running(language(), drain_window_s=1.0) as served:
        served.stop()
        await asyncio.sleep(0.1)
        assert await health_of(served) == health_pb2.HealthCheckResponse.NOT_SERVING
        assert (await served.answers("Completion", ask("Completion")))[0].content
        assert not served.finished.done()
        assert await served.exit_code() == 0


async def test_drain_is_asked_for_by_a_call_too_and_tells_how_far_it_is() -> None:
    engine = language(Reply("abcdef", step_s=0.1))
    async with running(engine, drain_window_s=60) as served:
        answer = asyncio.create_task(served.answers("Completion", ask("Completion")))
        await until(lambda: engine.running == 1)
        [told] = await served.answers("Drain", request("Drain", withdrawal_window={"nanos": 300_000_000}))
        assert told.in_flight_calls == 1
        [load] = await served.answers("GetLoad", request("GetLoad"))
        assert load.draining
        # Once more changes nothing.
        await served.answers("Drain", request("Drain", withdrawal_window={"seconds": 60}))
        assert (await answer)[0].content == "abcdef"
        assert await served.exit_code() == 0


async def test_the_load_is_what_runs_and_what_waits() -> None:
    engine = language(Reply("abcdef", step_s=0.2))
    async with running(engine, admission=AdmissionSettings(max_running_requests=1)) as served:
        calls = [asyncio.create_task(served.answers("Completion", ask("Completion"))) for _ in range(3)]
        await until(lambda: engine.running == 1)
        await asyncio.sleep(0.1)
        [load] = await served.answers("GetLoad", request("GetLoad"))
        [model] = load.models
        assert (model.model_id, model.running_requests, model.waiting_requests) == (LLM, 1, 2)
        assert model.waiting_tokens > 0
        assert load.in_flight_calls == 3
        assert not load.draining
        for each in calls:
            each.cancel()


async def load_of(served: Running) -> Any:
    """That of its first model."""
    [load] = await served.answers("GetLoad", request("GetLoad"))
    return load.models[0]


async def test_tokens_are_told_as_they_come_and_those_of_all_calls_together() -> None:
    async with running(language(Reply("abcdef", step_s=0.02))) as served:
        stream = served.call("StreamCompletion", ask("StreamCompletion"))
        seen = [(await load_of(served)).generated_tokens_total async for _ in stream]
        assert 0 < seen[1] < seen[-1]
        once = await load_of(served)
        assert once.prompt_tokens_total > 0
        await served.answers("Completion", ask("Completion"))
        twice = await load_of(served)
        assert twice.generated_tokens_total == 2 * once.generated_tokens_total
        assert twice.prompt_tokens_total == 2 * once.prompt_tokens_total
        assert twice.state == models_pb2.MODEL_STATE_READY


async def test_what_preflight_reads_is_no_work_of_the_engine() -> None:
    async with running(language()) as served:
        await served.answers("Preflight", request("Preflight", chat=ask("ChatCompletion")))
        assert (await load_of(served)).prompt_tokens_total == 0


async def test_a_model_that_loads_is_told_too_and_has_no_load() -> None:
    async with running(SlowToLoad(), wait=False) as served:
        model = await load_of(served)
        assert (model.state, model.running_requests) == (models_pb2.MODEL_STATE_LOADING, 0)


async def test_a_server_that_takes_no_calls_any_longer_still_says_that_it_lives(tmp_path: Path) -> None:
    probes = f"unix:{tmp_path}/probes"
    engine = language(Reply("abc", step_s=60))
    async with running(engine, grace_s=60, health_address=probes) as served:
        held = asyncio.create_task(served.failure("StreamCompletion", ask("StreamCompletion")))
        await until(lambda: engine.running == 1)
        served.stop()
        while not await refused(served.address):
            pass
        async with grpc.aio.insecure_channel(probes) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            alive = await stub.Check(health_pb2.HealthCheckRequest(service=LIVENESS))
        assert alive.status == health_pb2.HealthCheckResponse.SERVING
        served.stop()
        assert (await held).reason == "DRAINING"


async def test_what_outlasts_the_budget_is_told_that_the_server_ends() -> None:
    async with running(language(Reply("abc", step_s=60)), grace_s=0.2) as served:
        call = asyncio.create_task(served.failure("StreamCompletion", ask("StreamCompletion")))
        await asyncio.sleep(0.1)
        served.stop()
        failure = await call
        assert (failure.code, failure.reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
        assert failure.retry_after_s
        assert await served.exit_code() == 0


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
        async with running(engine, SlowToLoad(), wait=False, engine=ALL_OR_NONE) as served:
            assert await served.exit_code() == 1
            assert not served.ready.is_set()
    assert "The weights are gone." in caplog.text
    assert engine.stopped
