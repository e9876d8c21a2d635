"""What processes have used, by the operating system's count."""

from dataclasses import dataclass

import psutil

ENGINE_MARKS = ("EngineCore", "VLLM::", "spawn_main")


@dataclass(frozen=True, slots=True)
class Spent:
    """Processor seconds, and bytes of resident memory, of the front-end's process and of the engine's."""

    front_s: float
    engine_s: float
    front_bytes: int
    engine_bytes: int

    def since(self, before: "Spent") -> "Spent":
        return Spent(
            self.front_s - before.front_s, self.engine_s - before.engine_s, self.front_bytes, self.engine_bytes
        )


def spent(front: psutil.Process) -> Spent:
    """All that a front-end has started counts as the engine, but for what only checks grammars."""
    engines = [child for child in front.children(recursive=True) if _is_engine(child)]
    return Spent(
        _seconds(front), sum(map(_seconds, engines)), front.memory_info().rss, sum(e.memory_info().rss for e in engines)
    )


def _is_engine(process: psutil.Process) -> bool:
    command = " ".join(process.cmdline())
    return any(mark in command for mark in ENGINE_MARKS)


def _seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
