"""The way out: told once, in a hurry when told again."""

import asyncio
import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DrainTimes:
    """Seconds that new calls are still taken, and seconds that calls under way may take after that."""

    window_s: float
    budget_s: float


class Drain:
    """Whether the server is to end, and how much time it has for that."""

    def __init__(self, usual: DrainTimes) -> None:
        self.times = usual
        self._asked = asyncio.Event()
        self._hurry = asyncio.Event()
        self._asked_s = 0.0

    @property
    def asked(self) -> bool:
        return self._asked.is_set()

    @property
    def in_a_hurry(self) -> bool:
        return self._hurry.is_set()

    @property
    def overdue_s(self) -> float:
        """Seconds since the last call should have ended; 0 while there is time."""
        if not self.asked:
            return 0.0
        return max(0.0, time.monotonic() - self._asked_s - self.times.window_s - self.times.budget_s)

    def begin(self, window_s: float | None = None, budget_s: float | None = None) -> None:
        """None is as usual. Once it has begun, this changes nothing."""
        if self._asked.is_set():
            return
        self.times = DrainTimes(
            self.times.window_s if window_s is None else window_s,
            self.times.budget_s if budget_s is None else budget_s,
        )
        self._asked_s = time.monotonic()
        self._asked.set()

    def begin_or_hurry(self, window_s: float | None = None) -> None:
        """Asked a second time, nothing is waited for any longer."""
        if self._asked.is_set():
            self._hurry.set()
        self.begin(window_s)

    async def wait_until_asked(self) -> None:
        await self._asked.wait()

    async def wait_for_hurry(self) -> None:
        await self._hurry.wait()
