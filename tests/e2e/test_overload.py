"""Ten times more calls than a server can take, for a minute. With scripted engines, in a process of their own."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import cycle
from statistics import median
from typing import Any

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from inferwire.v1 import chat_pb2
from tests.e2e.calls import SERVING
from tests.server.serving import Failure, answers, call, request
from tests.serving import EMBEDDER, LLM, ServerProcess, slow_models, slow_server_process

TIMES, FLOOD_S, MEASURED_S = 10, 60, 5
RUNNING, QUEUED = 8, 16
STEP_S, REPLY = 0.02, "The river runs past the old stone bridge."
TIMEOUT_S = 60
INTERVAL_S = 0.25
# The allocator moves by some hundred KiB. A task, its context and its messages are several KiB: were they kept of each
# call, the thousands of the second half would be more than this.
GROWTH_BYTES = 4 * 1024 * 1024
SLOW_REFUSAL_S = 1.0  # far above the 50 ms that are promised: other work on the machine must not fail a test

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    narrow = {"admission": {"max_running_requests": RUNNING, "max_queued_requests": QUEUED}}
    models = slow_models(STEP_S, embed_s=STEP_S * len(REPLY), text=REPLY)
    with slow_server_process(tmp_path_factory.mktemp("server"), [model | narrow for model in models]) as server:
        server.wait_until_serving()
        yield server


CHAT = {"model_id": LLM, "messages": [{"user": {"content": {"text": "Hi"}}}]}
COMPLETION = {"model_id": LLM, "content": {"text": "Hi"}}
TEXTS = {"model_id": EMBEDDER, "contents": [{"text": "one"}, {"text": "two"}]}
LLM_CALLS = {
    "ChatCompletion": CHAT,
    "StreamChatCompletion": CHAT,
    "Completion": COMPLETION,
    "StreamCompletion": COMPLETION,
}
CALLS = LLM_CALLS | {"Embeddings": TEXTS}
START, PROGRESS = chat_pb2.RESPONSE_EVENT_TYPE_START, chat_pb2.RESPONSE_EVENT_TYPE_PROGRESS
COMPLETE = chat_pb2.RESPONSE_EVENT_TYPE_COMPLETE


def check_whole(name: str, came: list[Any]) -> None:
    match name:
        case "ChatCompletion":
            assert came[0].completion_message.content.text == REPLY
        case "Completion":
            assert came[0].content == REPLY
        case "Embeddings":
            assert len(came[0].embeddings) == 2
        case "StreamChatCompletion":
            check_stream(came, [chunk.event.event_type for chunk in came])
            assert "".join(chunk.event.delta.text.text for chunk in came) == REPLY
        case "StreamCompletion":
            check_stream(came, [chunk.event_type for chunk in came])
            assert "".join(chunk.delta for chunk in came) == REPLY


def check_stream(chunks: list[Any], types: list[int]) -> None:
    assert [chunk.sequence for chunk in chunks] == list(range(len(chunks)))
    assert types == [START, *[PROGRESS] * (len(types) - 2), COMPLETE]


@dataclass
class Flood:
    """What became of the calls."""

    accepted: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    refusal_s: list[float] = field(default_factory=list)

    async def send(self, channel: grpc.aio.Channel, name: str) -> None:
        """Fails for any other outcome than a whole answer or a refusal that says when to come back."""
        begun_s = time.monotonic()
        try:
            came = await answers(call(channel, name, request(name, **CALLS[name]), TIMEOUT_S))
        except grpc.aio.AioRpcError as error:
            failure = Failure.of(error)
            assert (failure.code, failure.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED"), failure
            assert failure.retry_after_s
            self.refused[name] += 1
            self.refusal_s.append(time.monotonic() - begun_s)
        else:
            check_whole(name, came)
            self.accepted[name] += 1


@dataclass
class Watched:
    """What was seen of the server beside the calls."""

    health: Counter[int] = field(default_factory=Counter)
    slowest_health_s: float = 0.0
    memory_bytes: list[int] = field(default_factory=list)

    @property
    def growth_bytes(self) -> float:
        """Over the second half, from one sixth of the time to another, as single samples jump."""
        half, sixth = len(self.memory_bytes) // 2, len(self.memory_bytes) // 6
        return median(self.memory_bytes[-sixth:]) - median(self.memory_bytes[half : half + sixth])


async def each_kind(channel: grpc.aio.Channel) -> Flood:
    flood = Flood()
    for name in CALLS:
        await flood.send(channel, name)
    return flood


async def capacity(channel: grpc.aio.Channel, names: list[str]) -> float:
    """Calls a second, of as many callers as there are places."""
    flood, end_s = Flood(), time.monotonic() + MEASURED_S

    async def caller(first: int) -> None:
        for name in cycle([*names[first:], *names[:first]]):
            await flood.send(channel, name)
            if time.monotonic() > end_s:
                return

    begun_s = time.monotonic()
    await asyncio.gather(*(caller(number % len(names)) for number in range(RUNNING)))
    assert not flood.refused
    return flood.accepted.total() / (time.monotonic() - begun_s)


async def offer(channel: grpc.aio.Channel, flood: Flood, names: list[str], rate: float) -> None:
    """So many calls a second, whatever becomes of them; late ones are caught up with."""
    begun_s = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for number, name in zip(range(round(rate * FLOOD_S)), cycle(names), strict=False):
            await asyncio.sleep(begun_s + number / rate - time.monotonic())
            group.create_task(flood.send(channel, name))


@asynccontextmanager
async def watching(server: ServerProcess) -> AsyncIterator[Watched]:
    watched, process = Watched(), psutil.Process(server.pid)

    async def watch() -> None:
        async with grpc.aio.insecure_channel(server.target) as channel:
            while True:
                begun_s = time.monotonic()
                answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=30)
                watched.slowest_health_s = max(watched.slowest_health_s, time.monotonic() - begun_s)
                watched.health[answer.status] += 1
                watched.memory_bytes.append(process.memory_info().rss)
                await asyncio.sleep(INTERVAL_S)

    watch_task = asyncio.create_task(watch())
    try:
        yield watched
    finally:
        watch_task.cancel()
        with suppress(asyncio.CancelledError):
            await watch_task


def told(rates: dict[str, float], flood: Flood, watched: Watched) -> str:
    mib = [size / 1024**2 for size in watched.memory_bytes]
    return (
        f"capacity {rates}, accepted {dict(flood.accepted)}, refused {dict(flood.refused)}, "
        f"refusals: median {median(flood.refusal_s) * 1000:.1f} ms, slowest {max(flood.refusal_s) * 1000:.1f} ms, "
        f"slowest of {watched.health.total()} health checks {watched.slowest_health_s * 1000:.1f} ms, "
        f"memory {mib[0]:.1f} MiB, at the middle {mib[len(mib) // 2]:.1f}, at the end {mib[-1]:.1f}"
    )


async def test_a_flood_is_refused_in_time_and_leaves_no_trace(server: ServerProcess) -> None:
    kinds = {"llm": list(LLM_CALLS), "embedder": ["Embeddings"]}
    async with grpc.aio.insecure_channel(server.target, options=[("grpc.enable_retries", 0)]) as channel:
        rates = {kind: await capacity(channel, names) for kind, names in kinds.items()}
        flood = Flood()
        async with watching(server) as watched:
            offers: list[Awaitable[None]] = [
                offer(channel, flood, names, TIMES * rates[kind]) for kind, names in kinds.items()
            ]
            await asyncio.gather(*offers)
        print(told(rates, flood, watched))
        assert set(flood.accepted) == set(flood.refused) == set(CALLS)
        assert flood.refused.total() > flood.accepted.total()
        assert set(watched.health) == {SERVING}
        assert watched.growth_bytes < GROWTH_BYTES
        assert median(flood.refusal_s) < SLOW_REFUSAL_S
        # The first calls afterwards.
        assert not (await each_kind(channel)).refused
