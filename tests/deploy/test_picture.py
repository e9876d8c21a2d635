"""The picture of the dashboard: all that the dashboard asks is asked, and drawn."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from deploy.monitoring import picture
from deploy.monitoring.panels import Unit, expressions
from deploy.monitoring.picture import Span, draw, written
from deploy.monitoring.prometheus import Prometheus, Series

SPAN = Span(begin=1_000_000, end=1_000_060, step_s=15)


class Remembering(Prometheus):
    """Answers everything with two buckets, or for half of the panels nothing at all."""

    asked: list[str] = []  # noqa: RUF012

    def series(self, expression: str, begin: float, end: float, step_s: float) -> list[Series]:
        self.asked.append(expression)
        times = (begin, end)
        labels: Iterator[dict[str, str]] = ({"le": le, "model": le, "instance": le} for le in ("0.5", "1", "+Inf"))
        return [Series(each, times, (1.0, float("nan"))) for each in labels] if "rate" in expression else []


@pytest.fixture
def prometheus() -> Remembering:
    Remembering.asked.clear()
    return Remembering("")


def test_every_panel_is_asked_for_and_drawn(prometheus: Remembering, tmp_path: Path) -> None:
    draw(prometheus, SPAN, file := tmp_path / "dashboard.png")
    assert len(prometheus.asked) == len(expressions())
    assert not any("$" in expression for expression in prometheus.asked)
    assert any("[90s]" in expression for expression in prometheus.asked)
    with Image.open(file) as drawn:
        assert drawn.width == picture.WIDTH_IN * picture.DPI
        assert drawn.height > drawn.width
        assert len(drawn.getcolors()) > 20


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.034, Unit.SECONDS, "34 ms"),
        (2.5, Unit.SECONDS, "2.5 s"),
        (0.0125, Unit.SHARE, "1.25 %"),
        (1234, Unit.TOKENS_PER_SECOND, "1.23k tok/s"),
        (7, Unit.COUNT, "7"),
        (2.5e9, Unit.BYTES, "2.5 GB"),
    ],
)
def test_numbers_are_short(value: float, unit: Unit, text: str) -> None:
    assert written(value, unit) == text
