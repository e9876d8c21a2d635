"""Whether an engine may be given a grammar: tried in another process, within limits, before the engine hears of it.

Static limits (expressions, schema_limits) refuse nearly all that is hostile, and at once. This is the net below them.
The library can't be interrupted, and a grammar too large for it would hold up the engine and with it every caller.
"""

import asyncio
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from service.decoding.compile_worker import COMPILED, FAILS, STARTED
from service.decoding.expressions import UnusableGrammar
from service.decoding.grammars import GrammarKind
from service.decoding.trial import TOO_LONG_TO_FOLLOW
from service.errors import InternalError, Overloaded

CONCURRENT = 1
"""More would be done sooner, and would take from every core of a small machine at once: engines compute in step."""
REMEMBERED = 4096
WAIT_S = 2.5
"""How long a caller waits for its turn and its verdict."""
IMPORT_S = 60.0
"""How long the first ones wait, while the process imports the decoder's library."""
RETRY_AFTER_S = 1.0
END_S = 5.0
GRAMMAR_TO_WARM_UP = 'root ::= "a"'

TOO_LONG_TO_COMPILE = "It takes too long to compile."


class WorkerEnded(Exception):
    """The process that tries grammars is gone."""


class CompileWorker:
    """The process that tries grammars, started when it is first needed and again when it has ended."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self.has_answered = False

    @property
    def ready(self) -> bool:
        """Whether it has imported what it needs."""
        return self.has_answered and self._process is not None and self._process.poll() is None

    @property
    def process_id(self) -> int | None:
        return self._process.pid if self._process else None

    def start(self) -> None:
        if self._process is not None and self._process.poll() is None:
            return
        self.end()
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

    def connect(self) -> socket.socket:
        """A connection to a job of its own. Raises WorkerEnded."""
        self.start()
        assert self._control is not None
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            try:
                socket.send_fds(self._control, [b"."], [theirs.fileno()])
            except OSError:
                ours.close()
                raise WorkerEnded from None
        return ours

    def end(self) -> None:
        """Leaves no process behind. Safe to call at any time, also twice."""
        process, self._process = self._process, None
        self.has_answered = False
        if self._control is not None:
            self._control.close()
            self._control = None
        if process is not None:
            # It has nothing to finish.
            process.kill()
            process.wait(END_S)


@dataclass(slots=True, eq=False)
class _Check:
    """One grammar that is being tried, for all who wait for the verdict."""

    kind: GrammarKind
    text: str
    waiting: int = 0
    task: "asyncio.Task[str | None] | None" = field(default=None)


class CompileCheck:
    """Tries grammars, one at a time, and remembers the verdicts."""

    def __init__(self, worker: CompileWorker | None = None, *, wait_s: float = WAIT_S) -> None:
        self._worker = worker or CompileWorker()
        self._wait_s = wait_s
        self._turns = asyncio.Semaphore(CONCURRENT)
        self.reading = asyncio.Lock()
        """For reading in this process what callers sent: one after the other, as Python's threads delay each other."""
        self._verdicts: OrderedDict[bytes, str | None] = OrderedDict()
        self._under_way: dict[bytes, _Check] = {}

    def start(self) -> None:
        """Starts the process ahead of the first check: it takes seconds to be ready."""
        self._begin(b"", GrammarKind.EBNF, GRAMMAR_TO_WARM_UP).waiting += 1

    async def check(self, kind: GrammarKind, text: str) -> None:
        """Raises UnusableGrammar with a sentence for the caller, and Overloaded when there was no time to find out.

        Nothing is said against a grammar that never had its turn, because others took too long: its caller may retry.
        """
        key = hashlib.blake2b(f"{kind}\0{text}".encode(errors="surrogatepass")).digest()
        if key in self._verdicts:
            self._verdicts.move_to_end(key)
            problem = self._verdicts[key]
        else:
            problem = await self._verdict(key, kind, text)
        if problem is not None:
            raise UnusableGrammar(problem)

    async def close(self) -> None:
        """Ends the process; checks under way fail."""
        for check in list(self._under_way.values()):
            if check.task:
                check.task.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await check.task
        await asyncio.to_thread(self._worker.end)

    async def _verdict(self, key: bytes, kind: GrammarKind, text: str) -> str | None:
        """Asked for the same grammar at the same time, tries it once; a caller who leaves takes nobody's verdict."""
        check = self._under_way.get(key) or self._begin(key, kind, text)
        assert check.task is not None
        check.waiting += 1
        try:
            async with asyncio.timeout(self._wait_s if self._worker.ready else IMPORT_S):
                return await asyncio.shield(check.task)
        except TimeoutError:
            raise _too_busy() from None
        finally:
            check.waiting -= 1

    def _begin(self, key: bytes, kind: GrammarKind, text: str) -> _Check:
        check = _Check(kind, text)
        check.task = asyncio.create_task(self._try(key, check))
        # Also when nobody is left to hear of a failure.
        check.task.add_done_callback(lambda task: task.cancelled() or task.exception())
        self._under_way[key] = check
        return check

    async def _try(self, key: bytes, check: _Check) -> str | None:
        try:
            async with self._turns:
                if not check.waiting:
                    raise _too_busy()
                answer = await self._ask_again(check)
            return self._remember(key, _problem(answer))
        finally:
            del self._under_way[key]

    def _remember(self, key: bytes, problem: str | None) -> str | None:
        self._verdicts[key] = problem
        if len(self._verdicts) > REMEMBERED:
            self._verdicts.popitem(last=False)
        return problem

    async def _ask_again(self, check: _Check) -> bytes:
        """Once more where the process had ended, for whatever reason, before it began."""
        try:
            return await self._ask(check)
        except WorkerEnded:
            with suppress(WorkerEnded):
                return await self._ask(check)
        raise InternalError("The process that tries grammars keeps ending.")

    async def _ask(self, check: _Check) -> bytes:
        loop = asyncio.get_running_loop()
        answer = b""
        with self._worker.connect() as connection, suppress(ConnectionError):  # found out below
            await loop.sock_sendall(connection, json.dumps({"kind": check.kind, "text": check.text}).encode())
            connection.shutdown(socket.SHUT_WR)
            while received := await loop.sock_recv(connection, 2**16):
                answer += received
        if not answer.startswith(STARTED):
            raise WorkerEnded
        self._worker.has_answered = True
        return answer


def _problem(answer: bytes) -> str | None:
    """What the process found, or what it was ended for."""
    told = answer.removeprefix(STARTED)
    compiled = told.startswith(COMPILED)
    verdict: dict[str, Any] = json.loads(told.removeprefix(COMPILED) or "{}")
    match verdict:
        case {"problem": str() | None as problem}:
            return problem
        case {"killed_by": signal.SIGPROF | signal.SIGALRM}:
            return TOO_LONG_TO_FOLLOW if compiled else TOO_LONG_TO_COMPILE
        case {"killed_by": _}:
            return FAILS
        case _:
            raise InternalError("The process that tries grammars gave no answer.")


def _too_busy() -> Overloaded:
    return Overloaded(
        "There was no time to find out whether what was asked for can be enforced: others ask for much.",
        retry_after_s=RETRY_AFTER_S,
    )
