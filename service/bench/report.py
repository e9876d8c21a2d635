"""Medians over rounds, and how each contender compares with the raw engine."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from service.bench.accounting import Spent
from service.bench.contenders.base import Round

Rounds = Mapping[tuple[str, str], Sequence[Round]]
"""By workload and contender."""
MICROS, MIB = 1e6, 2**20


@dataclass(frozen=True, slots=True)
class Column:
    title: str
    value: Callable[[Round], float]
    digits: int = 0
    of_processes: bool = False


def _spent(done: Round) -> Spent:
    assert done.spent is not None
    return done.spent


COLUMNS = (
    Column("tok/s", lambda r: r.figures.tokens_per_s),
    Column("TTFT p50, ms", lambda r: r.figures.first_p50_ms, 1),
    Column("TTFT p99, ms", lambda r: r.figures.first_p99_ms, 1),
    Column("gap p50, ms", lambda r: r.figures.gap_p50_ms, 1),
    Column("gap p99, ms", lambda r: r.figures.gap_p99_ms, 1),
    Column("front-end, µs/token", lambda r: MICROS * _spent(r).front_s / r.figures.tokens, 1, of_processes=True),
    Column("engine, µs/token", lambda r: MICROS * _spent(r).engine_s / r.figures.tokens, 1, of_processes=True),
    Column("front-end, MiB", lambda r: _spent(r).front_bytes / MIB, of_processes=True),
    Column("messages/token", lambda r: r.figures.messages / r.figures.tokens, 2),
)
COMPARED = {"tok/s", "TTFT p50, ms", "gap p99, ms", "front-end, µs/token"}


def markdown(rounds: Rounds, reference: str) -> str:
    """One row for each workload and contender: the median, its spread in percent, and the ratio to the reference."""
    columns = [column for column in COLUMNS if not column.of_processes or _are_known(rounds)]
    head = ["workload", "contender", *(column.title for column in columns)]
    return "\n".join(
        _row(cells) for cells in (head, ["---"] * 2 + ["--:"] * len(columns), *_cells(rounds, reference, columns))
    )


def _are_known(rounds: Rounds) -> bool:
    return all(done.spent for own in rounds.values() for done in own)


def _cells(rounds: Rounds, reference: str, columns: Sequence[Column]) -> Iterator[list[str]]:
    for (workload, contender), own in rounds.items():
        raw = rounds.get((workload, reference))
        yield [workload, contender, *(_cell(column, own, raw) for column in columns)]


def _cell(column: Column, own: Sequence[Round], raw: Sequence[Round] | None) -> str:
    values = [column.value(each) for each in own]
    text = f"{median(values):,.{column.digits}f}"
    if len(values) > 1 and median(values):
        text += f" ±{100 * (max(values) - min(values)) / 2 / median(values):.0f} %"
    if raw and raw is not own and column.title in COMPARED:
        text += f" ({median(values) / median(map(column.value, raw)):.2f}x)"
    return text


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def draw(rounds: Rounds, reference: str, file: Path) -> None:
    """A PNG: tokens a second and front-end time a token by workload, as ratios to the reference."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(14, 5), layout="constrained")
    for axis, title in zip(axes, ("tok/s", "front-end, µs/token"), strict=True):
        [column] = [column for column in COLUMNS if column.title == title]
        _bars(axis, rounds, reference, column)
    axes[0].legend()
    figure.savefig(file, dpi=120)


def _bars(axis, rounds: Rounds, reference: str, column: Column) -> None:  # type: ignore[no-untyped-def]
    workloads = list(dict.fromkeys(workload for workload, _ in rounds))
    contenders = list(dict.fromkeys(contender for _, contender in rounds))
    width = 0.8 / len(contenders)
    for index, contender in enumerate(contenders):
        ratios = [_ratio(rounds, workload, contender, reference, column) for workload in workloads]
        axis.bar([place + index * width for place in range(len(workloads))], ratios, width, label=contender)
    axis.set_title(f"{column.title}, as a multiple of {reference}")
    axis.set_xticks([place + 0.4 for place in range(len(workloads))], workloads, rotation=20)
    axis.axhline(1, color="grey", linewidth=0.8)


def _ratio(rounds: Rounds, workload: str, contender: str, reference: str, column: Column) -> float:
    own, raw = rounds.get((workload, contender)), rounds.get((workload, reference))
    return median(map(column.value, own)) / median(map(column.value, raw)) if own and raw else 0.0
