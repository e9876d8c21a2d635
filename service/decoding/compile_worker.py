"""The process that reads what callers sent before an engine does: `python -m service.decoding.compile_worker`.

It imports the decoder's library once, and then forks a process that tries one grammar after the other. That one can be
ended at any moment without harm to anything else, and the next one is there in milliseconds. The kernel itself ends one
that takes too long, as nothing else could interrupt it: by the processor time that a grammar took, which doesn't depend
on who else uses the machine.

    server ── standard input: a socket ──> this process ── fork ──> a trier, which gets grammars through its socket
           <── lines: it is compiled; the verdict, or what the trier was ended for ──

Both end when the server is gone, however it went.
"""

import json
import os
import resource
import selectors
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import psutil

from service.decoding.expressions import UnusableGrammar
from service.decoding.grammars import GrammarKind
from service.decoding.json_schema import check_patterns
from service.decoding.trial import small_vocabulary, try_out

COMPILE_CPU_S = 0.6
"""Bounds on the length of strings cost most: some 50 ms for each different one, and for an engine twenty times that."""
FOLLOW_CPU_S = 0.1
WALL_S = 5.0
"""For one that waits for something; none should."""
MEMORY_BYTES = 2**30
NICENESS = 4
"""The engine goes first, but a check isn't starved: it gets a quarter of a core that both want."""

TRIALS = 500
"""So many by one process, then by the next: what the library may have left behind goes with it."""

FAILS = "It can't be compiled: the library that the decoder uses fails on it."


@dataclass(frozen=True, slots=True)
class Trier:
    process_id: int
    process: int
    """A descriptor that becomes readable when the process ends."""
    connection: socket.socket


class Triers:
    """Forks a process per connection, and tells how those ended that could not tell it themselves."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ, self._start)
        self._over = False

    def run(self) -> None:
        while not self._over:
            for key, _ in self._selector.select():
                key.data()

    def _start(self) -> None:
        message, descriptors, _, _ = socket.recv_fds(self._control, 1, 1)
        if not message:
            self._over = True
            return
        connection = socket.socket(fileno=descriptors[0])
        process_id = os.fork()
        if process_id == 0:
            _work(connection)
        trier = Trier(process_id, os.pidfd_open(process_id), connection)
        self._selector.register(trier.process, selectors.EVENT_READ, partial(self._end, trier))

    def _end(self, trier: Trier) -> None:
        self._selector.unregister(trier.process)
        os.close(trier.process)
        _, status = os.waitpid(trier.process_id, 0)
        if os.WIFSIGNALED(status):
            _tell(trier.connection, {"killed_by": os.WTERMSIG(status)})
        trier.connection.close()


def _work(connection: socket.socket) -> None:
    """The whole life of a forked process."""
    status = 1
    try:
        _limit_memory()
        with connection, connection.makefile("rb") as jobs:
            for job in islice(jobs, TRIALS):
                if _try(connection, **json.loads(job)) == FAILS:
                    break  # the library may be in any state
        status = 0
    finally:
        os._exit(status)


def _limit_memory() -> None:
    most = psutil.Process().memory_info().vms + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _try(connection: socket.socket, kind: str, text: str) -> str | None:
    _limit_time(COMPILE_CPU_S, WALL_S)
    problem = problem_of(GrammarKind(kind), text, partial(_compiled, connection))
    _limit_time(0, 0)
    _tell(connection, {"problem": problem})
    return problem


def _compiled(connection: socket.socket) -> None:
    _tell(connection, {"compiled": True})
    _limit_time(FOLLOW_CPU_S, WALL_S)


def _limit_time(cpu_s: float, wall_s: float) -> None:
    """From now on; 0 is no limit. The kernel ends what goes beyond, which is the default action of both alarms."""
    signal.setitimer(signal.ITIMER_PROF, cpu_s)
    signal.setitimer(signal.ITIMER_REAL, wall_s)


def problem_of(kind: GrammarKind, text: str, compiled: Callable[[], None] = lambda: None) -> str | None:
    """Why a grammar can't be used, or None. Sets no limits; `compiled` is called half way."""
    try:
        if kind is GrammarKind.JSON_SCHEMA:
            check_patterns(text)
        try_out(kind, text, compiled)
    except UnusableGrammar as error:
        return str(error)
    except (RuntimeError, ValueError, TypeError, MemoryError):
        return FAILS
    return None


def _tell(connection: socket.socket, answer: dict[str, Any]) -> None:
    with suppress(OSError):  # the server is gone
        connection.sendall(json.dumps(answer).encode() + b"\n")


def main() -> None:
    # The server ends this process, in its own time: a Ctrl-C reaches the whole group of processes.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(NICENESS)
    # The library writes warnings there about what callers sent.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    small_vocabulary()  # made once, for all
    Triers(socket.socket(fileno=sys.stdin.fileno())).run()


if __name__ == "__main__":
    main()
