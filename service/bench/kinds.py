"""The kinds of workloads: who contends in each, and what is measured."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

from service.bench import embedding_workloads, workloads
from service.bench.accounting import Spent
from service.bench.contenders.base import Contender, Round, Running
from service.bench.contenders.inferwire import Inferwire
from service.bench.contenders.inferwire_embeddings import InferwireEmbeddings
from service.bench.contenders.openai_embeddings import OpenAIEmbeddings
from service.bench.contenders.openai_server import OpenAIServer
from service.bench.contenders.raw_embeddings import RawEmbeddings
from service.bench.contenders.raw_engine import RawEngine
from service.bench.contenders.smg_server import SmgServer
from service.bench.contenders.transformers_embeddings import TransformersEmbeddings
from service.bench.report import Column, Group

MICROS, KIB, MIB = 1e6, 2**10, 2**20
REFERENCE = RawEngine.name


@dataclass(frozen=True, slots=True)
class Kind:
    name: str
    contenders: Mapping[str, Contender[Any, Any]]
    """By the names that the command line knows them by."""
    groups: Sequence[Group]
    quick: Sequence[Any]
    warm_ups: Callable[[Sequence[Any]], Iterable[Any]]
    tables: Sequence[Sequence[Column]]
    drawn: Sequence[str]
    """Titles of columns."""
    running_at: Callable[[str, str], AbstractAsyncContextManager[Running[Any, Any]]]
    """A server that runs already, by its address and a model's id."""

    @property
    def workloads(self) -> Iterator[Any]:
        return (workload for group in self.groups for workload in group.workloads)

    def column(self, title: str) -> Column:
        return next(column for table in self.tables for column in table if column.title == title)


def _spent(done: Round[Any]) -> Spent:
    assert done.spent is not None
    return done.spent


def _memory_a_stream(done: Round[Any]) -> float:
    """Beside what the front-end held when it was idle: what earlier workloads left behind counts."""
    streams: int = done.figures.streams
    return max(0, _spent(done).front_own_peak_bytes - done.idle_bytes) / streams


def _micros(title: str, of_engine: bool, units: Callable[[Round[Any]], int]) -> Column:
    def value(done: Round[Any]) -> float:
        spent = _spent(done)
        return MICROS * (spent.engine_s if of_engine else spent.front_s) / units(done)

    return Column(title, value, 1, compared=not of_engine, of_processes=True)


MEMORY = (
    Column("front-end, MiB", lambda r: _spent(r).front_bytes / MIB, of_processes=True),
    Column("engine, MiB", lambda r: _spent(r).engine_bytes / MIB, of_processes=True),
)
SPEED = (
    Column("tok/s", lambda r: r.figures.tokens_per_s, compared=True),
    Column("TTFT p50, ms", lambda r: r.figures.first_p50_ms, 1, compared=True),
    Column("TTFT p99, ms", lambda r: r.figures.first_p99_ms, 1),
    Column("gap p50, ms", lambda r: r.figures.gap_p50_ms, 1),
    Column("gap p99, ms", lambda r: r.figures.gap_p99_ms, 1, compared=True),
    Column("messages/token", lambda r: r.figures.messages / r.figures.tokens, 2),
)
COST = (
    _micros("front-end, µs/token", False, lambda r: r.figures.tokens),
    _micros("engine, µs/token", True, lambda r: r.figures.tokens),
    *MEMORY,
    Column("front-end, KiB/stream", lambda r: _memory_a_stream(r) / KIB, of_processes=True),
)
EMBEDDING = (
    Column("texts/s", lambda r: r.figures.texts_per_s, compared=True),
    Column("call p50, ms", lambda r: r.figures.call_p50_ms, 1, compared=True),
    Column("call p99, ms", lambda r: r.figures.call_p99_ms, 1),
    _micros("front-end, µs/text", False, lambda r: r.figures.texts),
    _micros("engine, µs/text", True, lambda r: r.figures.texts),
    *MEMORY,
)

STREAMS = Kind(
    name="language model",
    contenders={
        "raw": RawEngine(),
        "inferwire": Inferwire(),
        "openai": OpenAIServer(tuned=True),
        "openai-defaults": OpenAIServer(tuned=False),
        "smg": SmgServer(),
    },
    groups=(
        Group("Short prompts", workloads.STREAMS),
        Group("Long and shared prompts", workloads.PROMPTS),
        Group("Constrained, 16 streams", workloads.CONSTRAINED),
    ),
    quick=[workload for workload in workloads.STREAMS if workload.streams in (1, 64)],
    warm_ups=workloads.warm_ups,
    tables=(SPEED, COST),
    drawn=("tok/s", "front-end, µs/token"),
    running_at=Inferwire().running_at,
)
EMBEDDINGS = Kind(
    name="embedding model",
    contenders={
        "raw": RawEmbeddings(),
        "inferwire": InferwireEmbeddings(),
        "openai-defaults": OpenAIEmbeddings(),
        "transformers": TransformersEmbeddings(),
    },
    groups=(Group("Embeddings", embedding_workloads.EMBEDDINGS),),
    quick=[embedding_workloads.MANY_TEXTS],
    warm_ups=embedding_workloads.warm_ups,
    tables=(EMBEDDING,),
    drawn=("texts/s",),
    running_at=InferwireEmbeddings().running_at,
)
KINDS = (STREAMS, EMBEDDINGS)
