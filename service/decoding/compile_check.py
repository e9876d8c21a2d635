"""Whether an engine may be given a grammar: tried in another process, within limits, before the engine hears of it.

Static limits (expressions, schema_limits) refuse nearly all that is hostile, and at once. This is the net below them.
The library can't be interrupted, and a grammar too large for it would hold up the engine and with it every caller.
"""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field

from service.decoding.compile_process import CompileProcess, ProcessEnded
from service.decoding.expressions import UnusableGrammar
from service.decoding.fair_turns import FairTurns
from service.decoding.grammars import GrammarKind
from service.errors import InternalError, Overloaded

REMEMBERED = 4096
WAIT_S = 10.0
"""How long a request waits for the verdicts on all that it asks for."""
IMPORT_S = 60.0
"""How long the first ones wait, while the process imports the decoder's library."""
RETRY_AFTER_S = 1.0
GRAMMAR_TO_WARM_UP = 'root ::= "a"'
NOBODY = ""


@dataclass(slots=True, eq=False)
class _Trial:
    """One grammar that is being tried, for all who wait for the verdict."""

    kind: GrammarKind
    text: str
    caller: str
    """Who asked first: the time that it takes is his."""
    waiting: int = 0
    task: "asyncio.Task[str | None] | None" = field(default=None)


class CompileCheck:
    """Tries grammars, and remembers the verdicts."""

    def __init__(self, process: CompileProcess | None = None, *, wait_s: float = WAIT_S) -> None:
        self._process = process or CompileProcess()
        self._wait_s = wait_s
        self._reading = FairTurns()
        self._verdicts: OrderedDict[bytes, str | None] = OrderedDict()
        self._under_way: dict[bytes, _Trial] = {}

    def start(self) -> None:
        """Starts the process ahead of the first check: it takes seconds to be ready."""
        self._begin(b"", GrammarKind.EBNF, GRAMMAR_TO_WARM_UP, NOBODY).waiting += 1

    def for_caller(self, caller: str) -> "CallersCheck":
        return CallersCheck(self, caller)

    def reading(self, caller: str) -> AbstractAsyncContextManager[None]:
        """For reading in this process what callers sent: one after the other, as Python's threads delay each other."""
        return self._reading.turn(caller)

    async def problems(self, kind: GrammarKind, texts: Sequence[str], caller: str) -> list[str | None]:
        """What is wrong with each of them, as a sentence for the caller; None for what can be used.

        Raises Overloaded when there was no time to find out. Nothing is then said against a grammar that never had its
        turn, because others took too long: its caller may retry.
        """
        try:
            async with asyncio.timeout(self._wait_s if self._process.ready else IMPORT_S):
                return await asyncio.gather(*(self._verdict(kind, text, caller) for text in texts))
        except TimeoutError:
            raise _too_busy() from None

    async def close(self) -> None:
        """Ends the process; checks under way fail."""
        for trial in list(self._under_way.values()):
            if trial.task:
                trial.task.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await trial.task
        await self._process.end()

    async def _verdict(self, kind: GrammarKind, text: str, caller: str) -> str | None:
        """Asked for the same grammar at the same time, tries it once; a caller who leaves takes nobody's verdict."""
        key = hashlib.blake2b(f"{kind}\0{text}".encode(errors="surrogatepass")).digest()
        if key in self._verdicts:
            self._verdicts.move_to_end(key)
            return self._verdicts[key]
        trial = self._under_way.get(key) or self._begin(key, kind, text, caller)
        assert trial.task is not None
        trial.waiting += 1
        try:
            return await asyncio.shield(trial.task)
        finally:
            trial.waiting -= 1

    def _begin(self, key: bytes, kind: GrammarKind, text: str, caller: str) -> _Trial:
        trial = _Trial(kind, text, caller)
        trial.task = asyncio.create_task(self._try(key, trial))
        # Also when nobody is left to hear of a failure.
        trial.task.add_done_callback(lambda task: task.cancelled() or task.exception())
        self._under_way[key] = trial
        return trial

    async def _try(self, key: bytes, trial: _Trial) -> str | None:
        try:
            async with self._process.turns.turn(trial.caller):
                if not trial.waiting:
                    raise _too_busy()
                return self._remember(key, await self._ask(trial))
        finally:
            del self._under_way[key]

    def _remember(self, key: bytes, problem: str | None) -> str | None:
        self._verdicts[key] = problem
        if len(self._verdicts) > REMEMBERED:
            self._verdicts.popitem(last=False)
        return problem

    async def _ask(self, trial: _Trial) -> str | None:
        """Once more where the process had ended, for whatever reason, before it began."""
        for _ in range(2):
            with suppress(ProcessEnded):
                return await self._process.problem_of(trial.kind, trial.text)
        raise InternalError("The process that tries grammars keeps ending.")


@dataclass(frozen=True, slots=True)
class CallersCheck:
    """The check as one caller has it, who waits no longer because of what others ask for."""

    _check: CompileCheck
    _caller: str

    def reading(self) -> AbstractAsyncContextManager[None]:
        return self._check.reading(self._caller)

    async def check(self, kind: GrammarKind, text: str) -> None:
        """Raises UnusableGrammar with a sentence for the caller, and Overloaded as `problems` does."""
        [problem] = await self.problems(kind, [text])
        if problem is not None:
            raise UnusableGrammar(problem)

    async def problems(self, kind: GrammarKind, texts: Sequence[str]) -> list[str | None]:
        """See CompileCheck."""
        return await self._check.problems(kind, texts, self._caller)


def _too_busy() -> Overloaded:
    return Overloaded(
        "There was no time to find out whether what was asked for can be enforced: others ask for much.",
        retry_after_s=RETRY_AFTER_S,
    )
