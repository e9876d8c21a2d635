"""What a contender is: something that is started with a model and can then be given workloads."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psutil

from service.bench.accounting import Spent, spent
from service.bench.timing import Figures, Send, run_at_once
from service.bench.workloads import Workload

START_S = 600
END_S = 60
POLL_S = 0.2
LOG_SHOWN = 4000


class FailedToStart(Exception):
    """The message is the end of what the process wrote."""


@dataclass(frozen=True, slots=True)
class Round:
    """One workload, once. What was spent is known of processes on this machine."""

    figures: Figures
    spent: Spent | None


class Running(Protocol):
    """A contender that is ready."""

    async def run(self, workload: Workload, seed: int) -> Round: ...


class Contender(Protocol):
    name: str
    constrains: bool
    """Whether it can be asked for JSON of a schema."""

    def running(self, model: Path, log: Path) -> AbstractAsyncContextManager[Running]: ...


@dataclass(frozen=True, slots=True)
class RunningServer:
    """Asked over the network by this process."""

    front: psutil.Process
    send: Send

    async def run(self, workload: Workload, seed: int) -> Round:
        asks = list(workload.asks(seed))
        before = spent(self.front)
        figures = await run_at_once(asks, self.send)
        return Round(figures, spent(self.front).since(before))


@dataclass(frozen=True, slots=True)
class RunningElsewhere:
    """The same, without its processes at hand."""

    send: Send

    async def run(self, workload: Workload, seed: int) -> Round:
        return Round(await run_at_once(list(workload.asks(seed)), self.send), None)


@asynccontextmanager
async def process(
    arguments: Sequence[str], log: Path, environment: Mapping[str, str] | None = None, *, piped: bool = False
) -> AsyncIterator["subprocess.Popen[str]"]:
    """A Python process in a session of its own, ended with all that it has started."""
    started = _start(arguments, log, environment or {}, subprocess.PIPE if piped else None)
    try:
        yield started
    finally:
        await asyncio.to_thread(_end, started)


async def until_ready(started: "subprocess.Popen[str]", log: Path, is_ready: Callable[[], Awaitable[bool]]) -> None:
    """Raises FailedToStart."""
    async with asyncio.timeout(START_S):
        while not await is_ready():
            if started.poll() is not None:
                raise FailedToStart(written_to(log)[-LOG_SHOWN:])
            await asyncio.sleep(POLL_S)


def written_to(log: Path) -> str:
    return log.read_text()


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def _start(
    arguments: Sequence[str], log: Path, environment: Mapping[str, str], pipe: int | None
) -> "subprocess.Popen[str]":
    with log.open("w") as output:
        return subprocess.Popen(
            [sys.executable, *arguments],
            stdin=pipe or subprocess.DEVNULL,
            stdout=pipe or output,
            stderr=output,
            text=True,
            start_new_session=True,
            env={**os.environ, **environment},
        )


def _end(started: "subprocess.Popen[str]") -> None:
    if started.poll() is None:
        family = psutil.Process(started.pid).children(recursive=True)
        started.terminate()
        try:
            started.wait(END_S)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()
        for left in family:
            with suppress(psutil.NoSuchProcess):
                left.kill()
