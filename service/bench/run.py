"""Runs workloads on contenders, in turn and repeatedly: what the machine does meanwhile hits all of them alike."""

import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from service.bench.contenders.base import Contender, Round, Running

Tell = Callable[[str], None]
"""Hears what is about to be done: a start, or one run of a workload."""


@dataclass(frozen=True, slots=True)
class Outcome:
    rounds: Mapping[tuple[str, str], list[Round[Any]]] = field(default_factory=lambda: defaultdict(list))
    """By workload and contender."""
    starts_s: Mapping[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """How long each contender took from its start until it was ready."""
    failures: dict[str, str] = field(default_factory=dict)
    """What went wrong with contenders."""


class Run(Protocol):
    @property
    def steps(self) -> int:
        """How often `run` tells."""
        ...

    async def run(self, tell: Tell) -> Outcome: ...


@dataclass(frozen=True, slots=True)
class Comparison:
    """Workloads and contenders of one kind. Logs go to `folder`."""

    contenders: Sequence[Contender[Any, Any]]
    workloads: Sequence[Any]
    warm_ups: Sequence[Any]
    model: Path
    folder: Path
    rounds: int

    @property
    def steps(self) -> int:
        takes = sum(contender.takes(workload) for contender in self.contenders for workload in self.workloads)
        return self.rounds * (len(self.contenders) + takes)

    async def run(self, tell: Tell) -> Outcome:
        """Starts each contender in each round; every other round begins with the last."""
        outcome = Outcome()
        for number in range(self.rounds):
            for contender in self.contenders if number % 2 == 0 else self.contenders[::-1]:
                tell(f"start {contender.name}")
                try:
                    await self._ask(contender, number, tell, outcome)
                except Exception as failure:
                    # The others have taken minutes, or will.
                    outcome.failures[contender.name] = str(failure)
        return outcome

    async def _ask(self, contender: Contender[Any, Any], number: int, tell: Tell, outcome: Outcome) -> None:
        async with self._started(contender, number, outcome) as running:
            warm = [await running.run(each, seed=-1 - number) for each in self._taken(contender, self.warm_ups)]
            idle_bytes = _held(warm[-1])
            for workload in self._taken(contender, self.workloads):
                tell(f"{contender.name}: {workload.name}")
                done = await running.run(workload, seed=number)
                outcome.rounds[workload.name, contender.name].append(replace(done, idle_bytes=idle_bytes))
                idle_bytes = min(idle_bytes, _held(done))

    @asynccontextmanager
    async def _started(
        self, contender: Contender[Any, Any], number: int, outcome: Outcome
    ) -> AsyncIterator[Running[Any, Any]]:
        await contender.get_ready(self.model)
        log = self.folder / f"{number}-{contender.name.replace(' ', '-')}.log"
        begun_s = time.perf_counter()
        async with contender.running(self.model, log) as running:
            outcome.starts_s[contender.name].append(time.perf_counter() - begun_s)
            yield running

    def _taken(self, contender: Contender[Any, Any], workloads: Sequence[Any]) -> Iterator[Any]:
        return (workload for workload in workloads if contender.takes(workload))


def _held(done: Round[Any]) -> int:
    return done.spent.front_own_bytes if done.spent else 0


@dataclass(frozen=True, slots=True)
class AtTarget:
    """Asks one contender that runs already."""

    running: AbstractAsyncContextManager[Running[Any, Any]]
    name: str
    workloads: Sequence[Any]
    rounds: int

    @property
    def steps(self) -> int:
        return self.rounds * len(self.workloads)

    async def run(self, tell: Tell) -> Outcome:
        outcome = Outcome()
        async with self.running as running:
            for number in range(self.rounds):
                for workload in self.workloads:
                    tell(workload.name)
                    outcome.rounds[workload.name, self.name].append(await running.run(workload, seed=number))
        return outcome
