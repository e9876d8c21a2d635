"""Callers that go away free the engine; an engine that goes away is told to its callers. On the real engines."""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from service.api.events import Complete
from service.client import Client
from service.errors import EngineFailed
from tests.e2e import observed_server
from tests.e2e.calls import chat, completion, embeddings, loads_of
from tests.serving import LLM, ServerProcess, alive, bundled_models, server_process, settings_file, wait_until

pytestmark = pytest.mark.real_model

CANCELS, AT_ONCE = 1000, 50
ENDLESS = 4000  # tokens, if nobody goes away
SETTLED_S = 30


@pytest.fixture(scope="module")
def counts_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("counts") / "counts.json"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, counts_file: Path) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("observed-server")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(observed_server.COUNTS_FILE, str(counts_file))
        config = settings_file(folder, bundled_models(), engine={"on_failure": "exit"})
        with server_process(folder, "--config", config, command=[observed_server.__file__]) as server:
            server.wait_until_serving()
            yield server


def counts_in(file: Path) -> dict[str, dict[str, int]]:
    """What each engine counts: running, waiting, not finished yet."""
    counts: dict[str, dict[str, int]] = json.loads(file.read_text())
    return counts


def requests_in(file: Path) -> int:
    return sum(sum(counts.values()) for counts in counts_in(file).values())


async def stream(client: Client) -> None:
    async with aclosing(client.stream_chat(chat(tokens=ENDLESS))) as events:
        async for _ in events:
            pass


CALLS: tuple[Callable[[Client], Awaitable[object]], ...] = (
    stream,
    stream,
    lambda client: client.chat(chat(tokens=ENDLESS)),
    lambda client: client.complete(completion(tokens=ENDLESS)),
    lambda client: client.embed(embeddings(*["a text that takes a while " * 8] * 20)),
)


async def cancel_some(client: Client, chance: random.Random, count: int) -> None:
    tasks = [asyncio.ensure_future(chance.choice(CALLS)(client)) for _ in range(count)]
    for task in tasks:
        asyncio.get_running_loop().call_later(chance.uniform(0, 0.5), task.cancel)
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_1000_cancels_at_random_moments_leave_the_engines_empty(server: ServerProcess, counts_file: Path) -> None:
    chance = random.Random(2)
    async with Client(server.target) as client:
        before = await client.chat(chat())
        assert await asyncio.to_thread(wait_until, lambda: requests_in(counts_file) == 0, SETTLED_S)
        busiest = 0
        for _ in range(CANCELS // AT_ONCE):
            await cancel_some(client, chance, AT_ONCE)
            busiest = max(busiest, requests_in(counts_file))
        assert busiest > 0
        assert await asyncio.to_thread(wait_until, lambda: requests_in(counts_file) == 0, SETTLED_S)
        assert [(load.running_requests, load.waiting_requests) for load in await loads_of(server.target)] == [
            (0, 0)
        ] * 2
        after = await client.chat(chat())
        assert after.completion_message == before.completion_message
        # The engine has just counted anew: that call was its only one.
        assert await asyncio.to_thread(wait_until, lambda: requests_in(counts_file) == 0, SETTLED_S)


async def test_a_call_in_a_running_engine_is_counted(server: ServerProcess, counts_file: Path) -> None:
    async with Client(server.target) as client, aclosing(client.stream_chat(chat(tokens=ENDLESS))) as events:
        for _ in range(10):
            await anext(events)
        counts = counts_in(counts_file)[LLM]
        assert (counts["running"], counts["unfinished"]) == (1, 1)


async def test_an_engine_that_dies_ends_its_streams_and_the_server(server: ServerProcess) -> None:
    family = server.descendants()
    async with Client(server.target) as client:
        streams = [client.stream_chat(chat(tokens=ENDLESS)) for _ in range(3)]
        for events in streams:
            await anext(events)
        for engine in server.engine_processes():
            engine.kill()
        endings = await asyncio.gather(*(ending_of(events) for events in streams))
    assert [type(ending) for ending in endings] == [EngineFailed] * 3
    assert await asyncio.to_thread(server.wait) == 1
    assert await asyncio.to_thread(wait_until, lambda: not alive(family), SETTLED_S), alive(family)


async def ending_of(events) -> object:  # type: ignore[no-untyped-def]
    """The failure of a stream, or its last event."""
    last = None
    try:
        async for event in events:
            last = event
    except EngineFailed as failure:
        return failure
    assert isinstance(last, Complete)
    return last
