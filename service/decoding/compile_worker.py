"""The process that reads what callers sent before an engine does: `python -m service.decoding.compile_worker`.

It imports the decoder's library once, and then forks for each job: a fork costs milliseconds, and can be ended at any
moment without harm to anything else. The kernel itself ends one that takes too long, as nothing else could interrupt
it: by the processor time that it took, which doesn't depend on who else uses the machine.

    server ── standard input: a socket per job ──> this process ── fork ──> the job, which answers through its socket

It ends when its standard input does, that is when the server is gone, however it went. No job outlives it for longer
than its limits.
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
NICENESS = 7
"""The engine goes first, but a check isn't starved: it gets about a sixth of a core that both want."""

FAILS = "It can't be compiled: the library that the decoder uses fails on it."
STARTED, COMPILED = b"started\n", b"compiled\n"


@dataclass(frozen=True, slots=True)
class Job:
    process_id: int
    process: int
    """A descriptor that becomes readable when the process ends."""
    connection: socket.socket


class Jobs:
    """Forks one process per job, and tells how those ended that could not tell it themselves."""

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
        job = Job(process_id, os.pidfd_open(process_id), connection)
        self._selector.register(job.process, selectors.EVENT_READ, partial(self._end, job))

    def _end(self, job: Job) -> None:
        self._selector.unregister(job.process)
        os.close(job.process)
        _, status = os.waitpid(job.process_id, 0)
        if os.WIFSIGNALED(status):
            _tell(job.connection, {"killed_by": os.WTERMSIG(status)})
        job.connection.close()


def _work(connection: socket.socket) -> None:
    """The whole life of a forked process."""
    status = 1
    try:
        with connection:
            connection.sendall(STARTED)
            job = json.loads(connection.makefile("rb").read())
            _limit_this_process()
            problem = problem_of(GrammarKind(job["kind"]), job["text"], partial(_compiled, connection))
            signal.setitimer(signal.ITIMER_PROF, 0)
            _tell(connection, {"problem": problem})
        status = 0
    finally:
        os._exit(status)


def _limit_this_process() -> None:
    """What goes beyond is ended by the kernel, which is the default action of both alarms."""
    signal.setitimer(signal.ITIMER_PROF, COMPILE_CPU_S)
    signal.setitimer(signal.ITIMER_REAL, WALL_S)
    most = psutil.Process().memory_info().vms + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


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


def _compiled(connection: socket.socket) -> None:
    connection.sendall(COMPILED)
    signal.setitimer(signal.ITIMER_PROF, FOLLOW_CPU_S)


def _tell(connection: socket.socket, answer: dict[str, Any]) -> None:
    with suppress(OSError):  # the server is gone
        connection.sendall(json.dumps(answer).encode())


def main() -> None:
    # The server ends this process, in its own time: a Ctrl-C reaches the whole group of processes.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(NICENESS)
    # The library writes warnings there about what callers sent.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    small_vocabulary()  # made once, for all jobs
    Jobs(socket.socket(fileno=sys.stdin.fileno())).run()


if __name__ == "__main__":
    main()
