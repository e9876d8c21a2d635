"""Medians over rounds, and how each contender compares with the raw engine."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from statistics import median
from typing import Any

from service.bench.contenders.base import Round

Rounds = Mapping[tuple[str, str], Sequence[Round[Any]]]
"""By workload and contender."""
NOTHING = "-"


@dataclass(frozen=True, slots=True)
class Column:
    title: str
    value: Callable[[Round[Any]], float]
    digits: int = 0
    compared: bool = False
    """Whether the ratio to the reference is shown."""
    of_processes: bool = False
    """Whether it is known only of contenders on this machine."""


@dataclass(frozen=True, slots=True)
class Group:
    """Workloads that are read together."""

    title: str
    workloads: Sequence[Any]


def group_tables(group: Group, tables: Sequence[Sequence[Column]], rounds: Rounds, reference: str) -> str:
    """A heading, and tables of one row for each workload and contender; empty if none of them was run."""
    names = {workload.name for workload in group.workloads}
    own = {key: values for key, values in rounds.items() if key[0] in names}
    if not own:
        return ""
    columns = [[column for column in table if not column.of_processes or _of_processes(own)] for table in tables]
    shown = [_table(list(_rows(own, reference, table))) for table in columns if table]
    return "\n\n".join([f"## {group.title}", *shown])


def starts_table(starts_s: Mapping[str, Sequence[float]]) -> str:
    rows = [[name, _with_spread(seconds, 1)] for name, seconds in starts_s.items()]
    return "## Start to ready\n\n" + _table([["contender", "seconds"], *rows])


def _of_processes(rounds: Rounds) -> bool:
    return all(done.spent for own in rounds.values() for done in own)


def _rows(rounds: Rounds, reference: str, columns: Sequence[Column]) -> Iterator[list[str]]:
    yield ["workload", "contender", *(column.title for column in columns)]
    contenders = list(dict.fromkeys(contender for _, contender in rounds))
    for workload in dict.fromkeys(workload for workload, _ in rounds):
        for contender in contenders:
            own, raw = rounds.get((workload, contender)), rounds.get((workload, reference))
            yield [workload, contender, *(_cell(column, own, raw) for column in columns)]


def _cell(column: Column, own: Sequence[Round[Any]] | None, raw: Sequence[Round[Any]] | None) -> str:
    if not own:
        return NOTHING
    values = [column.value(each) for each in own]
    text = _with_spread(values, column.digits)
    if column.compared and raw and raw is not own and (beside := median(map(column.value, raw))):
        text += f" ({median(values) / beside:.2f}x)"
    return text


def _with_spread(values: Sequence[float], digits: int) -> str:
    """The median, and how far the others are from it."""
    text = f"{median(values):,.{digits}f}"
    if len(values) > 1 and median(values):
        text += f" ±{100 * (max(values) - min(values)) / 2 / abs(median(values)):.0f} %"
    return text


def _table(rows: Sequence[Sequence[str]]) -> str:
    """Markdown that is as easily read in a terminal. Words are flush left, numbers right."""
    head, *body = rows
    widths = [max(map(len, column)) for column in zip_longest(*rows, fillvalue="")]
    left = [index for index, title in enumerate(head) if title in ("workload", "contender")]
    rule = ["-" * width if index in left else "-" * (width - 1) + ":" for index, width in enumerate(widths)]
    return "\n".join(_row(cells, widths, left) for cells in (head, rule, *body))


def _row(cells: Sequence[str], widths: Sequence[int], left: Sequence[int]) -> str:
    padded = (
        cell.ljust(width) if index in left else cell.rjust(width)
        for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return f"| {' | '.join(padded)} |"


@dataclass(frozen=True, slots=True)
class Drawing:
    """A column of all workloads, as ratios to the reference."""

    rounds: Rounds
    column: Column


def draw(drawings: Sequence[Drawing], reference: str, file: Path) -> None:
    """A PNG, with one plot for each drawing."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        len(drawings), 1, figsize=(14, 5 * len(drawings)), layout="constrained", squeeze=False
    )
    for [axis], drawing in zip(axes, drawings, strict=True):
        _bars(axis, drawing, reference)
    figure.savefig(file, dpi=120)


def _bars(axis: Any, drawing: Drawing, reference: str) -> None:
    workloads = list(dict.fromkeys(workload for workload, _ in drawing.rounds))
    contenders = list(dict.fromkeys(contender for _, contender in drawing.rounds))
    width = 0.8 / len(contenders)
    for index, contender in enumerate(contenders):
        ratios = [_ratio(drawing, workload, contender, reference) for workload in workloads]
        axis.bar([place + index * width for place in range(len(workloads))], ratios, width, label=contender)
    axis.set_title(f"{drawing.column.title}, as a multiple of {reference}")
    axis.set_xticks([place + 0.4 for place in range(len(workloads))], workloads, rotation=20)
    axis.axhline(1, color="grey", linewidth=0.8)
    # Beside the plot, where it hides no bar.
    axis.legend(loc="upper left", bbox_to_anchor=(1, 1))


def _ratio(drawing: Drawing, workload: str, contender: str, reference: str) -> float:
    """Zero for what isn't known."""
    own, raw = drawing.rounds.get((workload, contender)), drawing.rounds.get((workload, reference))
    beside = median(map(drawing.column.value, raw)) if raw else 0
    return median(map(drawing.column.value, own)) / beside if own and beside else 0.0
