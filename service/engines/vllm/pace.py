"""How many messages the streams of one engine are told their tokens in."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from service.engines.vllm.output_stream import WHEN_ASKED, OutputStream

FEW_STREAMS = 16
"""So many get each token at once, however fast the engine is."""
MESSAGES_A_SECOND = 2500
"""A message costs the process far more than a token: so many are a small part of a core."""
MEASURED_TOKENS = 4
"""Of each stream: with so many it is measured anew how fast the engine is."""


class Pace:
    """Joins tokens of many fast streams, to send several in one message.

    They are held until the same moment, so that the process wakes up once for all. Where the engine takes longer for a
    token than they may be held, that would join nothing: then each is sent at once, or, where these are still too many
    messages, with the one that follows it.
    """

    def __init__(self, longest_s: float) -> None:
        self._longest_s = longest_s
        self._streams = 0
        self._next: asyncio.Event | None = None
        self._step_s = 0.0
        """How long the engine takes for a token of each stream."""
        self._tokens, self._stream_s, self._counted_s = 0, 0.0, 0.0

    @property
    def hold_s(self) -> float:
        """The longest time that a token waits now for others."""
        if self._streams <= FEW_STREAMS or self._step_s >= self._longest_s:
            return 0.0
        return min(self._longest_s, self._streams / MESSAGES_A_SECOND)

    @property
    def tokens(self) -> int:
        """How many make a message where none is held."""
        too_slow_to_hold = 0 < self._longest_s <= self._step_s
        too_many = self._streams > max(FEW_STREAMS, MESSAGES_A_SECOND * self._step_s)
        return 2 if too_slow_to_hold and too_many else 1

    @contextmanager
    def stream(self, outputs: OutputStream) -> Iterator["PacedStream"]:
        """Counts it from its first output to its end: what waits in the engine's queue asks for no messages."""
        stream = PacedStream(self, outputs)
        try:
            yield stream
        finally:
            if stream.begun:
                self._count(-1)

    def began(self) -> None:
        """Of a stream, with its first output."""
        self._count(1)

    def saw(self, tokens: int) -> None:
        """Of any stream, after its first output."""
        self._tokens += tokens
        if self._tokens >= MEASURED_TOKENS * self._streams:
            self._count(0)
            self._step_s = self._stream_s / self._tokens
            self._tokens, self._stream_s = 0, 0.0

    def _count(self, more: int) -> None:
        now_s = time.monotonic()
        self._stream_s += self._streams * (now_s - self._counted_s)
        self._streams += more
        self._counted_s = now_s

    async def wait(self) -> None:
        """As long as a token is held; all who wait go on together."""
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


class PacedStream:
    """The outputs of one request, joined as the pace of all says."""

    def __init__(self, pace: Pace, outputs: OutputStream) -> None:
        self._pace = pace
        self._outputs = outputs
        self.begun = False

    async def next(self) -> Any:
        """The first one at once."""
        if self.begun:
            await self._join()
        output = await self._outputs.next()
        if self.begun:
            self._pace.saw(len(output.outputs[0].token_ids))
        else:
            self._pace.began()
            self.begun = True
        return output

    async def _join(self) -> None:
        if self._pace.hold_s:
            self._outputs.join(WHEN_ASKED)
            await self._pace.wait()
        else:
            self._outputs.join(self._pace.tokens)
