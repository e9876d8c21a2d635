"""Several models in one server: each comes, goes and is told of by itself."""

import asyncio
import logging
from collections.abc import Callable

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service.engines.scripted import Reply, ScriptedEmbeddingEngine, ScriptedLanguageEngine
from service.errors import EngineFailed
from service.server.health import name_of_model
from service.settings import EngineFailurePolicy, EngineSettings, FailedLoadPolicy
from tests.server.serving import EMBEDDER, LIMITS, LLM, Running, embedder, language, request, running
from tests.server.slow_engines import FailsToLoad, SlowToLoad

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
OTHER, BROKEN = "other", "broken"
RESTARTS = EngineSettings(max_restarts=1, restart_backoff_s=0.01)


async def health(served: Running, name: str = "", channel: grpc.aio.Channel | None = None) -> int:
    stub = health_pb2_grpc.HealthStub(channel or served.channel)
    return int((await stub.Check(health_pb2.HealthCheckRequest(service=name))).status)


async def healths(served: Running, *models: str) -> list[int]:
    """Of the whole, then of the models."""
    return [await health(served), *[await health(served, name_of_model(model)) for model in models]]


async def complete(served: Running, model_id: str) -> str:
    [answer] = await served.answers("Completion", request("Completion", model_id=model_id, content={"text": "Once"}))
    return str(answer.content)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def settled(served: Running, *wanted: int, models: tuple[str, ...]) -> None:
    async with asyncio.timeout(10):
        while await healths(served, *models) != list(wanted):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


class NeverComesBack(ScriptedLanguageEngine):
    """Loads once."""

    starts = 0

    async def start(self) -> None:
        self.starts += 1
        if self.starts > 1:
            raise EngineFailed("The weights are gone.")
        await super().start()


async def test_one_serves_while_another_loads() -> None:
    slow = SlowToLoad(OTHER)
    async with running(language(), slow, embedder(), wait=False) as served:
        await settled(served, NOT_SERVING, SERVING, NOT_SERVING, SERVING, models=(LLM, OTHER, EMBEDDER))
        assert await complete(served, LLM) == "Hi."
        slow.let_load.set()
        await settled(served, SERVING, SERVING, SERVING, models=(LLM, OTHER))


async def test_one_that_is_not_warm_does_not_serve_yet() -> None:
    slow = SlowToLoad(OTHER)
    slow.let_load.set()
    slow.let_warm_up.clear()
    async with running(language(), slow, wait=False) as served:
        await until(lambda: slow.ready)
        await settled(served, NOT_SERVING, SERVING, NOT_SERVING, models=(LLM, OTHER))


@pytest.mark.parametrize("warming_up", [False, True], ids=["loading", "warming up"])
async def test_one_that_cannot_be_loaded_leaves_the_others(caplog: pytest.LogCaptureFixture, warming_up: bool) -> None:
    broken = FailsToLoad(EngineFailed("The weights are gone."), warming_up=warming_up)
    with caplog.at_level(logging.ERROR):
        async with running(broken, language()) as served:
            assert await healths(served, LLM, BROKEN) == [SERVING, SERVING, NOT_SERVING]
            assert await complete(served, LLM) == "Hi."
            failure = await served.failure(
                "Completion", request("Completion", model_id=BROKEN, content={"text": "Once"})
            )
            assert (failure.code.name, failure.reason) == ("UNAVAILABLE", "ENGINE_FAILED")
            failed, ready = request("GetModel", model_id=BROKEN), request("GetModel", model_id=LLM)
            told = [(await served.answers("GetModel", ask))[0].model.state for ask in (failed, ready)]
            assert told == [3, 2]
            assert broken.stopped
    assert "The weights are gone." in caplog.text


async def test_without_any_model_there_is_no_server() -> None:
    async with running(FailsToLoad(EngineFailed("The weights are gone.")), wait=False) as served:
        assert await served.exit_code() == 1
        assert not served.ready.is_set()


async def test_a_rollout_may_want_all_or_none() -> None:
    engine = EngineSettings(on_failed_load=FailedLoadPolicy.EXIT)
    broken = FailsToLoad(EngineFailed("The weights are gone."))
    async with running(broken, language(), wait=False, engine=engine) as served:
        assert await served.exit_code() == 1


async def test_the_death_of_one_leaves_the_calls_and_the_health_of_others() -> None:
    dying = NeverComesBack(OTHER, LIMITS)
    slow = language(Reply("abcdef", step_s=0.02))
    async with running(slow, dying, engine=RESTARTS) as served:
        answer = asyncio.create_task(complete(served, LLM))
        await until(lambda: slow.running == 1)
        dying.die()
        await settled(served, SERVING, SERVING, NOT_SERVING, models=(LLM, OTHER))
        assert await answer == "abcdef"
        # No restart is left to it in this period.
        await until(lambda: dying.starts == 2)
        assert await complete(served, LLM) == "abcdef"
        assert not served.finished.done()


async def test_one_that_does_not_come_back_is_tried_again_when_the_period_allows() -> None:
    dying = NeverComesBack(OTHER, LIMITS)
    engine = RESTARTS.model_copy(update={"restart_period_s": 0.05})
    async with running(language(), dying, engine=engine) as served:
        dying.die()
        await until(lambda: dying.starts > 2)
        assert not served.finished.done()


async def test_when_the_last_one_fails_for_good_the_server_ends() -> None:
    one, two = NeverComesBack(LLM, LIMITS), NeverComesBack(OTHER, LIMITS)
    async with running(one, two, engine=RESTARTS) as served:
        one.die()
        await until(lambda: one.starts == 2)
        assert not served.finished.done()
        two.die()
        assert await served.exit_code() == 1


async def test_the_death_of_one_ends_the_server_where_the_operator_wants_it() -> None:
    engine = EngineSettings(on_failure=EngineFailurePolicy.EXIT)
    dying = ScriptedLanguageEngine(OTHER, LIMITS)
    async with running(language(), dying, engine=engine) as served:
        dying.die()
        assert await served.exit_code() == 1


async def test_a_stop_is_told_for_each_model() -> None:
    async with running(language(), embedder()) as served:
        stub = health_pb2_grpc.HealthStub(served.channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest(service=name_of_model(EMBEDDER)))
        assert (await watch.read()).status == SERVING
        served.stop()
        assert (await watch.read()).status == NOT_SERVING


async def test_health_tells_no_names_to_those_who_may_not_know_them(tmp_path: object) -> None:
    settings = {"anonymous": {"models": ["public-*"]}}
    probes = f"unix:{tmp_path}/probes"
    async with (
        running(language(), settings=settings, health_address=probes) as served,
        grpc.aio.insecure_channel(probes) as channel,
    ):
        with pytest.raises(grpc.aio.AioRpcError, match="NOT_FOUND"):
            await health(served, name_of_model(LLM))
        listed = await health_pb2_grpc.HealthStub(served.channel).List(health_pb2.HealthListRequest())
        assert name_of_model(LLM) not in listed.statuses
        assert await health(served, name_of_model(LLM), channel) == SERVING


async def test_each_has_limits_of_its_own() -> None:
    own = LIMITS.model_copy(update={"max_contents": 1})
    async with running(embedder(), ScriptedEmbeddingEngine(OTHER, own)) as served:
        contents = {"contents": [{"text": "one"}, {"text": "two"}]}
        assert await served.answers("Embeddings", request("Embeddings", model_id=EMBEDDER, **contents))
        failure = await served.failure("Embeddings", request("Embeddings", model_id=OTHER, **contents))
        assert (failure.code.name, failure.fields) == ("INVALID_ARGUMENT", ["contents"])
