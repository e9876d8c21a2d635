"""How many messages the streams of one engine are told their tokens in."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

FEW_STREAMS = 16
"""So many get each token at once, however fast the engine is."""
MESSAGES_A_SECOND = 2500
"""A message costs the process far more than a token: so many are a small part of a core."""


class Pace:
    """Holds tokens back while many streams run fast, to send several in one message.

    Where the engine takes longer for a token than the hold, streams get each one as it comes. All are held until the
    same moment, so that the process wakes up once for all of them.
    """

    def __init__(self, longest_s: float) -> None:
        self._longest_s = longest_s
        self._streams = 0
        self._next: asyncio.Event | None = None

    @property
    def hold_s(self) -> float:
        """The longest time that a token waits now for others."""
        return 0.0 if self._streams <= FEW_STREAMS else min(self._longest_s, self._streams / MESSAGES_A_SECOND)

    @contextmanager
    def stream(self) -> Iterator[None]:
        """Counts a stream as long as it runs."""
        self._streams += 1
        try:
            yield
        finally:
            self._streams -= 1

    async def wait(self) -> None:
        """To be called after each message but the last."""
        if not (hold_s := self.hold_s):
            return
        if self._next is None:
            self._next = asyncio.Event()
            asyncio.get_running_loop().call_later(hold_s, self._go_on)
        await self._next.wait()

    def _go_on(self) -> None:
        if self._next:
            self._next.set()
            self._next = None
