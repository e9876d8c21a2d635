"""How long calls for embeddings took, one after the other."""

import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

from service.bench.embedding_workloads import EmbeddingWorkload
from service.bench.timing import percentile

Embed = Callable[[], Awaitable[object]]
"""Makes one call and waits for all of its vectors."""
PrepareEmbed = Callable[[Sequence[str]], Embed]
"""Builds a request for the vectors of these texts."""


@dataclass(frozen=True, slots=True)
class EmbeddingFigures:
    """Of all calls of one workload. Times are in milliseconds."""

    seconds: float
    texts: int
    call_p50_ms: float
    call_p99_ms: float

    @property
    def texts_per_s(self) -> float:
        return self.texts / self.seconds


def calls_in_turn(
    prepare: PrepareEmbed, workload: EmbeddingWorkload, seed: int
) -> Callable[[], Awaitable[EmbeddingFigures]]:
    """Builds all requests now, and returns what makes the calls."""
    embeds = [prepare(texts) for texts in workload.calls_of(seed)]
    return lambda: run_in_turn(embeds, workload.texts)


async def run_in_turn(embeds: Iterable[Embed], texts: int) -> EmbeddingFigures:
    seconds = [await _timed(embed) for embed in embeds]
    ascending = sorted(seconds)
    return EmbeddingFigures(
        seconds=sum(seconds),
        texts=texts * len(seconds),
        call_p50_ms=1000 * percentile(ascending, 50),
        call_p99_ms=1000 * percentile(ascending, 99),
    )


async def _timed(embed: Embed) -> float:
    begun_s = time.perf_counter()
    await embed()
    return time.perf_counter() - begun_s
