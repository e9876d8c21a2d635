"""What a server process holds: it should hold no more after a run than before."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.serving import ServerProcess, server_process, settings_file, wait_until

TASKS_LINE = "tasks: "
PATIENCE_S = 60.0
"""gRPC keeps idle threads for half a minute."""
MEMORY_GROWTH_BYTES = 64 * 2**20
"""What is remembered on purpose is small: 4,096 verdicts on grammars, and caches of a fixed size. The rest is the
allocator's, as bursts of large requests leave room that is used again and seldom given back. A leak of 4 KiB a request
would be 80 MiB in a run of 20,000."""

POOL_THREADS = 4 + 2 * (os.cpu_count() or 1)
"""Pools get their threads one by one, when all others are at work: asyncio's up to the number of processors and four,
that of the tokenizers up to the number of processors. One thread more for each thousandth request would be twenty."""


@dataclass(frozen=True, slots=True)
class Footprint:
    descriptors: int
    threads: int
    processes: int
    tasks: int
    memory_bytes: int

    def growth(self, later: "Footprint") -> list[str]:
        """What there is more of, later, beyond what is allowed."""
        allowed = {"memory_bytes": MEMORY_GROWTH_BYTES, "threads": POOL_THREADS}
        before, after = asdict(self), asdict(later)
        return [
            f"{name}: {before[name]} before, {after[name]} after"
            for name in before
            if after[name] > before[name] + allowed.get(name, 0)
        ]


@contextmanager
def observed(folder: Path, models: list[dict[str, Any]], **settings: Any) -> Iterator[ServerProcess]:
    """A server whose footprint can be taken."""
    config = settings_file(folder, models, **settings)
    with server_process(folder, "--config", config, command=("-m", "tests.fuzz.observed_server")) as server:
        server.wait_until_serving()
        yield server


def footprint(server: ServerProcess) -> Footprint:
    tasks = _tasks(server)
    process = psutil.Process(server.pid)
    return Footprint(
        process.num_fds(), process.num_threads(), len(server.descendants()), tasks, process.memory_info().rss
    )


def growth_of(server: ServerProcess, before: Footprint) -> list[str]:
    """What the server keeps more of than before, after some time to let go of it."""
    wait_until(lambda: not before.growth(footprint(server)), PATIENCE_S)
    return before.growth(footprint(server))


def _tasks(server: ServerProcess) -> int:
    told = server.printed().count(TASKS_LINE)
    server.process.send_signal(signal.SIGUSR1)
    wait_until(lambda: server.printed().count(TASKS_LINE) > told, PATIENCE_S)
    return int(server.printed().rsplit(TASKS_LINE, 1)[1].split()[0])
