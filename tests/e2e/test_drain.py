"""SIGTERM while 32 streams run: what can be finished is whole, and the rest says that it isn't."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from service.api.content import TextDelta
from service.api.events import Complete, Event, Progress, Start
from service.client import Client
from service.errors import Draining, InferwireError
from tests.e2e.calls import chat
from tests.server.serving import Failure
from tests.serving import END_S, ServerProcess, slow_models, slow_server_process

STREAMS = 32
STEP_S, REPLY = 0.05, "word " * 1000
SHORT, LONG, ENDLESS = 20, 100, 3000  # tokens: a second, five seconds, two and a half minutes
SHORT_BUDGET_S = 10

pytestmark = pytest.mark.timeout(300)


@dataclass
class Stream:
    tokens: int
    events: list[Event]
    failure: Failure | None = None

    @property
    def whole(self) -> bool:
        """Whether it has its end, and all that comes before."""
        text = "".join(e.delta.text for e in self.events if isinstance(e, Progress) and isinstance(e.delta, TextDelta))
        return (
            self.failure is None
            and isinstance(self.events[-1], Complete)
            and [event.sequence for event in self.events] == list(range(len(self.events)))
            and text == REPLY[: self.tokens]
        )

    async def read(self, client: Client, begun: Callable[[], None]) -> None:
        """To its end, whatever that is. The first piece of text tells that it has begun."""
        try:
            async with aclosing(client.stream_chat(chat(tokens=self.tokens))) as events:
                async for event in events:
                    self.events.append(event)
                    if event.sequence == 1:
                        begun()
        except Draining as draining:
            self.failure = status_of(draining)


def status_of(error: InferwireError) -> Failure:
    assert isinstance(error.__cause__, grpc.aio.AioRpcError)
    return Failure.of(error.__cause__)


@asynccontextmanager
async def serving(folder: Path, grace_s: float) -> AsyncIterator[ServerProcess]:
    with slow_server_process(folder, slow_models(STEP_S, text=REPLY), server={"grace_s": grace_s}) as server:
        await asyncio.to_thread(server.wait_until_serving)
        yield server


async def terminated_amid(server: ServerProcess, *tokens: int) -> list[Stream]:
    """Streams of so many tokens, after a SIGTERM that came when all had begun."""
    streams, begun = [Stream(count, []) for count in tokens], asyncio.Semaphore(0)
    async with Client(server.target) as client, asyncio.TaskGroup() as group:
        for stream in streams:
            group.create_task(stream.read(client, begun.release))
        for _ in streams:
            await begun.acquire()
        server.terminate()
    return streams


async def test_with_time_enough_all_are_whole(tmp_path: Path) -> None:
    async with serving(tmp_path, grace_s=END_S) as server:
        streams = await terminated_amid(server, *[LONG] * STREAMS)
        assert all(stream.whole for stream in streams)
        assert await asyncio.to_thread(server.wait) == 0
        assert "Traceback" not in server.logged()


async def test_without_it_each_is_whole_or_says_that_the_server_ends(tmp_path: Path) -> None:
    async with serving(tmp_path, grace_s=SHORT_BUDGET_S) as server:
        streams = await terminated_amid(server, *[SHORT, ENDLESS] * (STREAMS // 2))
        assert await asyncio.to_thread(server.wait) == 0
        assert "Traceback" not in server.logged()
    finished, cut = streams[::2], streams[1::2]
    assert all(stream.whole for stream in finished)
    for stream in cut:
        assert stream.failure
        assert (stream.failure.code, stream.failure.reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
        assert stream.failure.retry_after_s
        assert isinstance(stream.events[0], Start)
        assert not any(isinstance(event, Complete) for event in stream.events)
