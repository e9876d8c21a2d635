"""When the messages of a stream came, and what that says of many streams at once."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field

from service.bench.workloads import Ask, Workload

Mark = Callable[[], None]
Send = Callable[[Mark], Awaitable[int]]
"""Sends one request, marks each message from the first one with text on, and returns the number of tokens in all."""
Prepare = Callable[[Ask], Send]
"""Builds a request, which is a client's work and no contender's."""


@dataclass(slots=True)
class StreamTimes:
    """Seconds on one clock."""

    begun_s: float
    messages_s: list[float] = field(default_factory=list)
    tokens: int = 0

    @property
    def first_s(self) -> float:
        return self.messages_s[0] - self.begun_s

    @property
    def gaps_s(self) -> Iterable[float]:
        return (after - before for before, after in zip(self.messages_s, self.messages_s[1:], strict=False))


@dataclass(frozen=True, slots=True)
class Figures:
    """Of all streams of one workload. Times are in milliseconds."""

    seconds: float
    streams: int
    tokens: int
    messages: int
    first_p50_ms: float
    first_p99_ms: float
    gap_p50_ms: float
    gap_p99_ms: float

    @property
    def tokens_per_s(self) -> float:
        return self.tokens / self.seconds


def streams_at_once(prepare: Prepare, workload: Workload, seed: int) -> Callable[[], Awaitable[Figures]]:
    """Builds all requests now, and returns what sends them."""
    sends = [prepare(ask) for ask in workload.asks(seed)]
    return lambda: run_at_once(sends)


async def run_at_once(sends: Iterable[Send]) -> Figures:
    begun_s = time.perf_counter()
    streams = await asyncio.gather(*map(_timed, sends))
    return figures(streams, time.perf_counter() - begun_s)


async def _timed(send: Send) -> StreamTimes:
    times = StreamTimes(time.perf_counter())
    times.tokens = await send(lambda: times.messages_s.append(time.perf_counter()))
    return times


def figures(streams: Sequence[StreamTimes], seconds: float) -> Figures:
    first = sorted(stream.first_s for stream in streams)
    gaps = sorted(gap for stream in streams for gap in stream.gaps_s) or [0.0]
    return Figures(
        seconds=seconds,
        streams=len(streams),
        tokens=sum(stream.tokens for stream in streams),
        messages=sum(len(stream.messages_s) for stream in streams),
        first_p50_ms=1000 * percentile(first, 50),
        first_p99_ms=1000 * percentile(first, 99),
        gap_p50_ms=1000 * percentile(gaps, 50),
        gap_p99_ms=1000 * percentile(gaps, 99),
    )


def percentile(ascending: Sequence[float], percent: int) -> float:
    """The smallest value that so many percent of all don't exceed."""
    return ascending[min(len(ascending) - 1, -(-len(ascending) * percent // 100) - 1)]
