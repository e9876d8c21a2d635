"""What processes have used, by the operating system's count."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import psutil

ENGINE_MARKS = ("EngineCore", "VLLM::", "spawn_main")
MEMORY_PERIOD_S = 0.05


@dataclass(frozen=True, slots=True)
class Spent:
    """Processor seconds, and bytes of resident memory, of the front-end's process and of the engine's."""

    front_s: float
    engine_s: float
    front_bytes: int
    engine_bytes: int
    front_own_bytes: int
    """Of resident memory, what is the front-end's alone: mapped files come and go as the machine likes."""
    front_own_peak_bytes: int
    """The most of it that was seen meanwhile."""

    def since(self, before: "Spent") -> "Spent":
        return replace(self, front_s=self.front_s - before.front_s, engine_s=self.engine_s - before.engine_s)


@dataclass(slots=True)
class Peak:
    bytes: int = 0

    def see(self, process: psutil.Process) -> None:
        self.bytes = max(self.bytes, _own_bytes(process))


@dataclass(frozen=True, slots=True)
class Processes:
    """Of a contender that is ready. Found once: looking for them takes longer than many a workload's front-end."""

    front: psutil.Process
    engines: Sequence[psutil.Process]

    def spent(self, peak: Peak) -> Spent:
        peak.see(self.front)
        return Spent(
            front_s=_seconds(self.front),
            engine_s=sum(map(_seconds, self.engines)),
            front_bytes=self.front.memory_info().rss,
            engine_bytes=sum(engine.memory_info().rss for engine in self.engines),
            front_own_bytes=_own_bytes(self.front),
            front_own_peak_bytes=peak.bytes,
        )

    @asynccontextmanager
    async def memory_watched(self, peak: Peak) -> AsyncIterator[None]:
        watch = asyncio.create_task(self._watch_memory(peak))
        try:
            yield
        finally:
            watch.cancel()

    async def _watch_memory(self, peak: Peak) -> None:
        while True:
            peak.see(self.front)
            await asyncio.sleep(MEMORY_PERIOD_S)


def processes_of(front: psutil.Process) -> Processes:
    """All that a front-end has started counts as the engine, but for what only checks grammars."""
    return Processes(front, [child for child in front.children(recursive=True) if _is_engine(child)])


def _is_engine(process: psutil.Process) -> bool:
    command = " ".join(process.cmdline())
    return any(mark in command for mark in ENGINE_MARKS)


def _own_bytes(process: psutil.Process) -> int:
    memory = process.memory_info()
    return int(memory.rss - memory.shared)


def _seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
