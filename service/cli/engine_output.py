"""Keeps the engines' output apart from ours.

Engines and their child processes write to the file descriptors 1 and 2 whatever Python thinks of them. So these two are
pointed at a file, before any engine starts, and we go on writing to copies of what they were.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

STDOUT, STDERR = 1, 2


@dataclass(frozen=True, slots=True)
class OwnOutput:
    """Where this process itself writes: what it has to show, and its log lines."""

    stdout: TextIO
    stderr: TextIO


@contextmanager
def engine_output_to(file: Path | None) -> Iterator[OwnOutput]:
    """Inside, what is written to the descriptors 1 and 2 is appended to `file`; None leaves them as they are.

    `sys.stdout` and `sys.stderr` go to the file as well: the engine's part in this process writes there.
    """
    if file is None:
        yield OwnOutput(sys.stdout, sys.stderr)
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as undo:
        target = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        undo.callback(os.close, target)
        yield OwnOutput(_redirect(STDOUT, target, undo), _redirect(STDERR, target, undo))


def _redirect(descriptor: int, target: int, undo: ExitStack) -> TextIO:
    """Points a descriptor at another one, and returns a stream to where it pointed."""
    saved = os.dup(descriptor)  # not inherited by child processes, unlike what dup2 makes
    own = undo.enter_context(os.fdopen(saved, "w", buffering=1, encoding=_encoding(), errors="replace"))
    _flush()
    os.dup2(target, descriptor)
    undo.callback(os.dup2, saved, descriptor)
    undo.callback(_flush)  # runs first: what is still buffered belongs into the file
    return own


def _encoding() -> str:
    return getattr(sys.__stdout__, "encoding", None) or "utf-8"


def _flush() -> None:
    """Writes out what Python still holds back for the descriptors."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and not stream.closed:
            stream.flush()


def size_of(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def last_lines(file: Path, count: int, start: int = 0) -> list[str]:
    """The last lines of a file that come after its first `start` bytes."""
    if not file.exists():
        return []
    with file.open("rb") as log:
        log.seek(max(start, size_of(file) - 64 * 1024))
        return log.read().decode("utf-8", "replace").splitlines()[-count:]
