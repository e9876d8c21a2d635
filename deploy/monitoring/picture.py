"""The dashboard without Grafana: asks a Prometheus what the dashboard asks, and draws the answers.

python -m deploy.monitoring.picture --prometheus http://localhost:9090 --minutes 60 --png dashboard.png
"""

import argparse
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import numpy as np
from matplotlib import pyplot
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.dates import AutoDateLocator, DateFormatter
from matplotlib.patches import FancyBboxPatch
from matplotlib.ticker import FuncFormatter, MaxNLocator
from PIL import Image

from deploy.monitoring.panels import AT_A_GLANCE, INSTANCE, INTERVAL, JOB, MODEL, ROWS, Panel, Row, Shape, Unit
from deploy.monitoring.prometheus import Prometheus, Series

COLUMNS, WIDTH_IN, DPI = 3, 15.0, 100
TITLE_IN, HEADING_IN, NUMBERS_IN, PANEL_IN, GAP_IN = 0.6, 0.42, 1.05, 2.75, 0.1
LEFT_IN, RIGHT_IN, ABOVE_IN, BELOW_IN = 0.78, 0.2, 0.38, 0.92
"""From a panel's edges to its axes."""
COLOURS = 128
"""Of the PNG: a picture of lines needs no more, and is a third as large."""
LEGEND_LINES, LEGEND_LETTERS = 4, 58
SCRAPES_PER_RATE = 6
INK, FAINT, GRID, PAPER, CARD, RED, GREEN = (
    "#d8d9da",
    "#9fa2a8",
    "#2c3036",
    "#111217",
    "#181b1f",
    "#f2495c",
    "#73bf69",
)
LINES = ("#73bf69", "#f2cc0c", "#5794f2", "#ff9830", "#b877d9", "#f2495c", "#8ab8ff", "#37872d", "#fade2a", "#ca95e5")
HEAT = LinearSegmentedColormap.from_list("heat", [CARD, "#1f4b5f", "#2f8f83", "#9bd770", "#fade2a"])
BOX_STYLE = {
    "boxstyle": "round,pad=0,rounding_size=0.002",
    "facecolor": CARD,
    "edgecolor": GRID,
    "linewidth": 0.8,
    "zorder": -1,
}
STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": GRID,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": FAINT,
    "axes.prop_cycle": mpl.cycler(color=LINES),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.facecolor": PAPER,
    "font.size": 9,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "legend.fontsize": 8,
    "legend.columnspacing": 1.2,
    "legend.handlelength": 0.9,
    "legend.labelcolor": INK,
    "legend.frameon": False,
    "text.color": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
}


@dataclass(frozen=True, slots=True)
class Span:
    """What is shown: between two moments, with a value every so often."""

    begin: float
    end: float
    step_s: float

    @property
    def title(self) -> str:
        begin, end = (datetime.fromtimestamp(moment, UTC) for moment in (self.begin, self.end))
        return f"Inferwire   {begin:%Y-%m-%d %H:%M} to {end:%H:%M} UTC"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m deploy.monitoring.picture", description=__doc__)
    parser.add_argument("--prometheus", default="http://localhost:9090", help="its URL (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=60, help="how far to look back (default: 60)")
    parser.add_argument("--step-s", type=float, default=15, help="how often it scrapes, in seconds (default: 15)")
    parser.add_argument("--png", type=Path, required=True, help="the picture to write")
    options = parser.parse_args()
    now = time.time()
    draw(Prometheus(options.prometheus), Span(now - 60 * options.minutes, now, options.step_s), options.png)


def draw(prometheus: Prometheus, span: Span, file: Path) -> None:
    """Writes a PNG of all panels, in the places that they have in Grafana."""
    with mpl.rc_context(STYLE):
        figure = pyplot.figure(figsize=(WIDTH_IN, _height_in()))
        page = Page(figure, prometheus, span)
        page.heading(span.title, TITLE_IN, size=17, weight="bold")
        for row in ROWS:
            page.add(row)
        figure.savefig(file, dpi=DPI)
        pyplot.close(figure)
    with Image.open(file) as picture:
        picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(file, optimize=True)


def _height_in() -> float:
    charts = [row for row in ROWS if row is not AT_A_GLANCE]
    lines = sum(math.ceil(len(row.panels) / COLUMNS) for row in charts)
    return TITLE_IN + NUMBERS_IN + HEADING_IN * len(charts) + PANEL_IN * lines + GAP_IN


class Page:
    """Puts panels on a figure, from top to bottom."""

    def __init__(self, figure: Any, prometheus: Prometheus, span: Span) -> None:
        self._figure = figure
        self._prometheus = prometheus
        self._span = span
        self._height_in = figure.get_figheight()
        self._top_in = 0.0

    def heading(self, text: str, height_in: float, **style: Any) -> None:
        middle = 1 - (self._top_in + height_in / 2) / self._height_in
        self._figure.text(GAP_IN / WIDTH_IN, middle, text, va="center", **style)
        self._top_in += height_in

    def add(self, row: Row) -> None:
        if row is AT_A_GLANCE:
            self._add_line(row.panels, len(row.panels), NUMBERS_IN)
            return
        self.heading(row.title, HEADING_IN, size=12.5)
        for first in range(0, len(row.panels), COLUMNS):
            self._add_line(row.panels[first : first + COLUMNS], COLUMNS, PANEL_IN)

    def _add_line(self, panels: Sequence[Panel], columns: int, height_in: float) -> None:
        width_in = (WIDTH_IN - GAP_IN) / columns
        for column, panel in enumerate(panels):
            box = Box(GAP_IN + column * width_in, self._top_in, width_in - GAP_IN, height_in - GAP_IN)
            self._figure.add_artist(FancyBboxPatch(*self._share(box), **BOX_STYLE))
            inner = box if panel.shape is Shape.NUMBER else box.inner()
            (left, bottom), width, height = self._share(inner)
            axes = self._figure.add_axes((left, bottom, width, height))
            DRAWN[panel.shape](axes, panel, self._found(panel))
            if panel.shape is not Shape.NUMBER:
                self._finish(axes, panel)
        self._top_in += height_in

    def _share(self, box: "Box") -> tuple[tuple[float, float], float, float]:
        """Of the figure: the lower left corner, width and height."""
        bottom = 1 - (box.top_in + box.height_in) / self._height_in
        return (box.left_in / WIDTH_IN, bottom), box.width_in / WIDTH_IN, box.height_in / self._height_in

    def _found(self, panel: Panel) -> dict[str, Series]:
        """What Prometheus answers, by legend."""
        found: dict[str, Series] = {}
        for legend, expression in panel.queries.items():
            for series in self._prometheus.series(_asked(expression, self._span), *_bounds(self._span)):
                found[_legend(legend, series.labels)] = series
        return found

    def _finish(self, axes: Any, panel: Panel) -> None:
        axes.set_title(panel.title, loc="left", fontsize=10.5, pad=8)
        axes.set_xlim(*(datetime.fromtimestamp(moment, UTC) for moment in (self._span.begin, self._span.end)))
        axes.xaxis.set_major_locator(AutoDateLocator(minticks=3, maxticks=9))
        axes.xaxis.set_major_formatter(DateFormatter("%H:%M", UTC))
        axes.tick_params(length=0, pad=5)


@dataclass(frozen=True, slots=True)
class Box:
    """In inches from the upper left corner."""

    left_in: float
    top_in: float
    width_in: float
    height_in: float

    def inner(self) -> "Box":
        """Where the axes of a chart are."""
        width_in, height_in = self.width_in - LEFT_IN - RIGHT_IN, self.height_in - ABOVE_IN - BELOW_IN
        return Box(self.left_in + LEFT_IN, self.top_in + ABOVE_IN, width_in, height_in)


def _asked(expression: str, span: Span) -> str:
    for variable in (JOB, INSTANCE, MODEL):
        expression = expression.replace(f'"{variable}"', '".*"')
    return expression.replace(INTERVAL, f"{span.step_s * SCRAPES_PER_RATE:g}s")


def _bounds(span: Span) -> tuple[float, float, float]:
    return span.begin, span.end, span.step_s


def _legend(legend: str, labels: Mapping[str, str]) -> str:
    return re.sub(r"{{(\w+)}}", lambda found: labels.get(found[1], ""), legend) or "(none)"


def _number(axes: Any, panel: Panel, found: Mapping[str, Series]) -> None:
    axes.set_axis_off()
    latest = next((series.values[-1] for series in found.values()), math.nan)
    alarming = panel.alarming is not None and latest >= panel.alarming
    shown = "-" if math.isnan(latest) else written(latest, panel.unit)
    axes.text(0.5, 0.4, shown, ha="center", va="center", fontsize=23, weight="bold", color=RED if alarming else GREEN)
    axes.text(0.5, 0.84, panel.title, ha="center", va="center", fontsize=9.5, color=FAINT)


def _lines(axes: Any, panel: Panel, found: Mapping[str, Series]) -> None:
    for legend, series in found.items():
        axes.plot(_moments(series), series.values, linewidth=1.4, label=legend)
    _scale(axes, panel, found)


def _stack(axes: Any, panel: Panel, found: Mapping[str, Series]) -> None:
    moments = sorted({moment for series in found.values() for moment in series.times})
    if moments:
        heights = [np.nan_to_num(np.interp(moments, s.times, s.values, left=0, right=0)) for s in found.values()]
        dates = [datetime.fromtimestamp(moment, UTC) for moment in moments]
        axes.stackplot(dates, heights, labels=list(found), alpha=0.75, linewidth=0)
    _scale(axes, panel, found)


def _scale(axes: Any, panel: Panel, found: Mapping[str, Series]) -> None:
    axes.set_ylim(0, _top(axes, panel))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: written(value, panel.unit)))
    if found:
        _add_legend(axes, found)
    else:
        _say_nothing(axes)


def _say_nothing(axes: Any) -> None:
    axes.text(0.5, 0.5, "nothing happened", transform=axes.transAxes, ha="center", va="center", color=FAINT)


def _add_legend(axes: Any, found: Mapping[str, Series]) -> None:
    """Below the axes; of many lines those that were highest at some time."""
    handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    columns = max(1, min(3, LEGEND_LETTERS // (max(map(len, found)) + 4)))
    shown = sorted(found, key=lambda legend: np.nan_to_num(found[legend].values).max(), reverse=True)
    shown = shown[: LEGEND_LINES * columns]
    place = {"loc": "upper left", "bbox_to_anchor": (-0.03, -0.15), "ncols": columns, "borderaxespad": 0}
    axes.legend([handles[legend] for legend in shown], shown, **place)


def _top(axes: Any, panel: Panel) -> float:
    """A little above the lines, and above nothing at all as well."""
    return panel.most or max(1.08 * axes.get_ylim()[1], 1e-3 if panel.unit is Unit.SECONDS else 0.1)


def _heatmap(axes: Any, panel: Panel, found: Mapping[str, Series]) -> None:
    """Each bucket alone, where Prometheus counts the lower ones in."""
    if not found:
        _say_nothing(axes)
        return
    bounds = sorted((bound for bound in found if bound != "+Inf"), key=float)
    moments = sorted({moment for series in found.values() for moment in series.times})
    upto = np.array([np.interp(moments, found[bound].times, found[bound].values) for bound in bounds])
    counts = np.diff(upto, axis=0, prepend=0).clip(min=0)
    dates = [datetime.fromtimestamp(moment, UTC) for moment in moments]
    axes.pcolormesh(dates, range(len(bounds)), np.sqrt(counts), cmap=HEAT, shading="nearest")
    axes.grid(visible=False)
    every = range(0, len(bounds), 3)
    axes.set_yticks(list(every), [f"≤ {written(float(bounds[number]), panel.unit)}" for number in every])


def _moments(series: Series) -> list[datetime]:
    return [datetime.fromtimestamp(moment, UTC) for moment in series.times]


def written(value: float, unit: Unit) -> str:
    """As short as a person likes it."""
    match unit:
        case Unit.SHARE:
            return f"{100 * value:.3g} %"
        case Unit.SECONDS:
            return f"{value:.3g} s" if value >= 1 or value == 0 else f"{1000 * value:.3g} ms"
        case Unit.BYTES:
            return f"{value / 1e9:.3g} GB" if value >= 1e9 else f"{value / 1e6:.3g} MB"
    ending = {Unit.PER_SECOND: "/s", Unit.TOKENS_PER_SECOND: " tok/s"}.get(unit, "")
    return f"{_short(value)}{ending}"


def _short(value: float) -> str:
    return f"{value / 1000:.3g}k" if value >= 1000 else f"{value:.3g}"


DRAWN: Mapping[Shape, Callable[[Any, Panel, Mapping[str, Series]], None]] = {
    Shape.NUMBER: _number,
    Shape.LINES: _lines,
    Shape.STACK: _stack,
    Shape.HEATMAP: _heatmap,
}

if __name__ == "__main__":
    main()
