"""How contenders are started, waited for and ended."""

import asyncio
import os
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psutil

START_S = 600
END_S = 60
POLL_S = 0.2
# What a traceback ends with, also where vLLM's log shows it.
CAUSE = re.compile(r"^(?:\(.+? pid=\d+\) )?(?:ERROR .+?\] )?((?:\w+\.)*\w+Error: .+)$", re.MULTILINE)


class FailedToStart(Exception):
    """The message is what went wrong first, as far as a log tells."""

    def __init__(self, log: str) -> None:
        causes = CAUSE.findall(log) or log.strip().splitlines()[-1:] or ["It ended without a word."]
        super().__init__(f"did not start: {causes[0]}")


@asynccontextmanager
async def process(
    arguments: Sequence[str], log: Path, environment: Mapping[str, str] = os.environ, *, piped: bool = False
) -> AsyncIterator["subprocess.Popen[str]"]:
    """A Python process in a session of its own, ended with all that it has started."""
    started = _start(arguments, log, environment, subprocess.PIPE if piped else None)
    try:
        yield started
    finally:
        await asyncio.to_thread(_end, started)


async def until_ready(started: "subprocess.Popen[str]", log: Path, is_ready: Callable[[], Awaitable[bool]]) -> None:
    """Raises FailedToStart."""
    try:
        async with asyncio.timeout(START_S):
            while not await is_ready():
                if started.poll() is not None:
                    raise FailedToStart(written_to(log))
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise FailedToStart(f"{written_to(log)}\nIt was not ready in {START_S} s.") from None


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
            env=environment,
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
