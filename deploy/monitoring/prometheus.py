"""What a Prometheus answers."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

TIMEOUT_S = 30


@dataclass(frozen=True, slots=True)
class Series:
    """One line: `values` has a number for each of `times`."""

    labels: Mapping[str, str]
    times: Sequence[float]
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class Prometheus:
    url: str

    def answers(self) -> bool:
        """Whether it is ready."""
        try:
            with urlopen(f"{self.url}/-/ready", timeout=TIMEOUT_S):
                return True
        except (URLError, ConnectionError):
            return False

    def series(self, expression: str, begin: float, end: float, step_s: float) -> list[Series]:
        """Raises URLError, also for what it can't parse."""
        asked = urlencode({"query": expression, "start": begin, "end": end, "step": step_s})
        with urlopen(f"{self.url}/api/v1/query_range?{asked}", timeout=TIMEOUT_S) as answer:
            found = json.load(answer)["data"]["result"]
        return [_series(each) for each in found]


def _series(found: Mapping[str, Any]) -> Series:
    times, values = zip(*found["values"], strict=True)
    return Series(found["metric"], times, [float(value) for value in values])
