"""The server's end of the process that tries grammars."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress

from service.decoding.compile_worker import FAILS
from service.decoding.fair_turns import FairTurns
from service.decoding.grammars import GrammarKind
from service.decoding.trial import TOO_LONG_TO_FOLLOW

END_S = 5.0
LONGEST_LINE = 2**20
TOO_LONG_TO_COMPILE = "It takes too long to compile."


class ProcessEnded(Exception):
    """The process that tries grammars is gone, or the fork of it that was asked."""


class CompileProcess:
    """The process that tries grammars, started when it is first needed and again when it has ended.

    It tries one at a time: more would be done sooner, and would take from every core of a small machine at once, where
    engines compute in step.
    """

    def __init__(self) -> None:
        self.turns = FairTurns()
        """To be held by who asks."""
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._trier: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._has_answered = False

    @property
    def ready(self) -> bool:
        """Whether it has imported what it needs."""
        return self._has_answered and self._runs

    @property
    def _runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def process_id(self) -> int | None:
        return self._process.pid if self._process else None

    async def problem_of(self, kind: GrammarKind, text: str) -> str | None:
        """Why a grammar can't be used, or None. Raises ProcessEnded."""
        with suppress(ConnectionError):  # found out below
            reader, writer = self._trier = self._trier or await self._new_trier()
            writer.write(json.dumps({"kind": kind, "text": text}).encode() + b"\n")
            await writer.drain()
            compiled = False
            while line := await reader.readline():
                self._has_answered = True
                match json.loads(line):
                    case {"compiled": True}:
                        compiled = True
                    case {"problem": str() | None as problem}:
                        return problem
                    case {"killed_by": int() as killed_by}:
                        self._leave_trier()
                        return _problem_of_killed(killed_by, compiled)
        self._leave_trier()
        raise ProcessEnded

    async def end(self) -> None:
        """Leaves no process behind. Safe to call at any time, also twice."""
        process, self._process = self._process, None
        self._has_answered = False
        self._leave_trier()
        if self._control is not None:
            self._control.close()
            self._control = None
        if process is not None:
            # It has nothing to finish.
            process.kill()
            await asyncio.to_thread(process.wait, END_S)

    async def _new_trier(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if not self._runs:
            await self.end()
            self._start()
        assert self._control is not None
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                socket.send_fds(self._control, [b"."], [theirs.fileno()])
            except OSError:
                ours.close()
                raise ProcessEnded from None
        return await asyncio.open_connection(sock=ours, limit=LONGEST_LINE)

    def _leave_trier(self) -> None:
        trier, self._trier = self._trier, None
        if trier is not None:
            trier[1].close()

    def _start(self) -> None:
        self._control, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "service.decoding.compile_worker"],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                # One thread: it forks.
                env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
                # Not reached by Ctrl-C, also while it doesn't listen to signals yet.
                process_group=0,
            )


def _problem_of_killed(killed_by: int, compiled: bool) -> str:
    if killed_by not in (signal.SIGPROF, signal.SIGALRM):
        return FAILS
    return TOO_LONG_TO_FOLLOW if compiled else TOO_LONG_TO_COMPILE
