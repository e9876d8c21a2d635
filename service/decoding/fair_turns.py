"""Work that is done one piece at a time, for callers who shall not have to wait for each other's floods."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


class FairTurns:
    """The next turn goes to the caller who has taken the least time; that of one caller's, to the one who came first.

    Who was away starts level with those who are being served: idle time earns nothing. As many callers are remembered
    as the server has identities.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._taken_s: dict[str, float] = {}
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        self._level_s = 0.0
        """What the caller had taken who got a turn last."""
        self._busy = False

    @asynccontextmanager
    async def turn(self, caller: str) -> AsyncIterator[None]:
        """Waits for a turn, and holds it."""
        if caller not in self._waiting:
            self._taken_s[caller] = max(self._taken_s.get(caller, 0.0), self._level_s)
        if self._busy:
            await self._wait(caller)
        self._busy = True
        begun_s = self._clock()
        try:
            yield
        finally:
            self._taken_s[caller] += self._clock() - begun_s
            self._next()

    async def _wait(self, caller: str) -> None:
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(caller, deque()).append(granted)
        try:
            await granted
        except asyncio.CancelledError:
            if not granted.cancelled():  # given up in the moment in which it was granted
                self._next()
            raise

    def _next(self) -> None:
        while self._waiting:
            caller = min(self._waiting, key=self._taken_s.__getitem__)
            granted = self._pop(caller)
            if not granted.cancelled():
                self._level_s = self._taken_s[caller]
                granted.set_result(None)
                return
        self._busy = False

    def _pop(self, caller: str) -> "asyncio.Future[None]":
        granted = self._waiting[caller].popleft()
        if not self._waiting[caller]:
            del self._waiting[caller]
        return granted
