"""What balancers are told of the server's load, with each answer and beside them (ORCA)."""

import math
import time
from collections.abc import Callable

from service.api.load import LoadReport
from service.engines.registry import Registry

REMEMBERED_S = 30.0
# What another server might have done better. A refusal for want of room isn't among them: it shows in the utilization.
FAULTS = {"UNKNOWN", "DEADLINE_EXCEEDED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}


class Rate:
    """Events a second, of late: what is long ago counts less."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._rate = 0.0
        self._at_s = clock()

    def count(self) -> None:
        self._rate = self.per_second + 1 / REMEMBERED_S

    @property
    def per_second(self) -> float:
        now_s = self._clock()
        self._rate *= math.exp((self._at_s - now_s) / REMEMBERED_S)
        self._at_s = now_s
        return self._rate


class LoadReports:
    """Counts calls that have ended, and tells how busy the server is."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._calls = Rate()
        self._failures = Rate()

    def count(self, code: str) -> None:
        self._calls.count()
        if code in FAULTS:
            self._failures.count()

    def current(self) -> LoadReport:
        busiest = max((admission.utilization for admission in self._registry.admissions().values()), default=0.0)
        return LoadReport(busiest, self._calls.per_second, self._failures.per_second, self._registry.loads())
