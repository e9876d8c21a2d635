"""Who may fetch now."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from service.errors import Overloaded

RETRY_AFTER_S = 1.0


@dataclass(slots=True, eq=False)
class _Turn:
    caller: str
    host: str
    granted: "asyncio.Future[None]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class FetchTurns:
    """So many fetches at a time, and from one host; the next is that of the caller who has the fewest under way.

    So neither a slow host nor a busy caller takes all turns. And none begins while what was fetched takes `most_bytes`:
    images may come faster than they are decoded.
    """

    def __init__(self, most: int, most_per_host: int, most_waiting_per_caller: int, most_bytes: int) -> None:
        self._most = most
        self._most_per_host = most_per_host
        self._most_waiting_per_caller = most_waiting_per_caller
        self._most_bytes = most_bytes
        self._held_bytes = 0
        self._by_caller: Counter[str] = Counter()
        self._by_host: Counter[str] = Counter()
        self._waiting: list[_Turn] = []

    @asynccontextmanager
    async def turn(self, caller: str, host: str) -> AsyncIterator[None]:
        """Waits for a turn, and holds it. Raises Overloaded for a caller who has too many waiting."""
        turn = _Turn(caller, host)
        self._waiting.append(turn)
        self._grant()
        if turn in self._waiting and self._waiting_of(caller) > self._most_waiting_per_caller:
            self._waiting.remove(turn)
            raise too_busy()
        await self._granted(turn)
        try:
            yield
        finally:
            self._leave(turn)

    def hold(self, size: int) -> None:
        """Bytes that have been fetched."""
        self._held_bytes += size

    def release(self, size: int) -> None:
        """Bytes that aren't needed any longer."""
        self._held_bytes -= size
        self._grant()

    async def _granted(self, turn: _Turn) -> None:
        try:
            await turn.granted
        except asyncio.CancelledError:
            if turn in self._waiting:
                self._waiting.remove(turn)
            else:  # given up in the moment in which it was granted
                self._leave(turn)
            raise

    def _leave(self, turn: _Turn) -> None:
        for count, whose in ((self._by_caller, turn.caller), (self._by_host, turn.host)):
            count[whose] -= 1
            if not count[whose]:
                del count[whose]
        self._grant()

    def _grant(self) -> None:
        while self._has_room() and (turn := self._next()):
            self._waiting.remove(turn)
            self._by_caller[turn.caller] += 1
            self._by_host[turn.host] += 1
            turn.granted.set_result(None)

    def _has_room(self) -> bool:
        return self._by_caller.total() < self._most and self._held_bytes < self._most_bytes

    def _next(self) -> _Turn | None:
        """Of one caller's, the one that came first."""
        ready = (turn for turn in self._waiting if self._by_host[turn.host] < self._most_per_host)
        return min(ready, key=lambda turn: self._by_caller[turn.caller], default=None)

    def _waiting_of(self, caller: str) -> int:
        return sum(turn.caller == caller for turn in self._waiting)


def too_busy() -> Overloaded:
    return Overloaded("Too many images are being fetched already.", retry_after_s=RETRY_AFTER_S)
