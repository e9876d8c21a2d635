"""What a contender is: something that is started with a model and can then be given workloads."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import psutil

from service.bench.accounting import Peak, Processes, Spent, processes_of

Work = TypeVar("Work", contravariant=True)
"""A workload of some kind."""
Seen = TypeVar("Seen", covariant=True)
"""What is measured of that kind."""


@dataclass(frozen=True, slots=True)
class Round(Generic[Seen]):
    """One workload, once. What was spent is known of processes on this machine."""

    figures: Seen
    spent: Spent | None
    idle_bytes: int = 0
    """The least that the front-end held after the contender's warm-up and the workloads before."""


class Running(Protocol[Work, Seen]):
    """A contender that is ready."""

    async def run(self, workload: Work, seed: int) -> Round[Seen]: ...


class Contender(ABC, Generic[Work, Seen]):
    name: str

    def takes(self, workload: Work) -> bool:
        """Whether it can do what is asked for."""
        return True

    async def get_ready(self, model: Path) -> None:
        """Does what has to be done before a start and is no part of it."""

    @abstractmethod
    def running(self, model: Path, log: Path) -> AbstractAsyncContextManager[Running[Work, Seen]]: ...


@dataclass(frozen=True, slots=True)
class Measured(Generic[Work, Seen]):
    """A contender that this process asks."""

    prepare: Callable[[Work, int], Callable[[], Awaitable[Seen]]]
    """Builds a workload's requests; what it returns sends them."""
    processes: Processes | None
    """None for those of another machine."""

    async def run(self, workload: Work, seed: int) -> Round[Seen]:
        send = self.prepare(workload, seed)
        if self.processes is None:
            return Round(await send(), None)
        peak = Peak()
        before = self.processes.spent(peak)
        async with self.processes.memory_watched(peak):
            figures = await send()
        return Round(figures, self.processes.spent(peak).since(before))


def measured_here(
    prepare: Callable[[Work, int], Callable[[], Awaitable[Seen]]], pid: int | None = None
) -> Measured[Work, Seen]:
    """`pid` is the front-end's; None for this very process."""
    return Measured(prepare, processes_of(psutil.Process(pid)))
