"""The places of one engine and the queue in front of them, shared fairly between callers.

An engine takes whatever it is given, in the order of arrival. Here its work is bounded, and the next free place goes to
the caller who has had the fewest tokens for its weight (a virtual token counter, as in Sheng et al., "Fairness in
Serving Large Language Models"). Who was away starts level with those who are being served: idle time earns nothing.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field

from service.engines.admission.bounds import Bounds
from service.engines.admission.drain_rate import DrainRate
from service.engines.admission.quotas import Quotas
from service.errors import DeadlineExceeded, Overloaded

# For a refusal of which nothing is known yet.
RETRY_AFTER_S = 1.0
SHORTEST_RETRY_S, LONGEST_RETRY_S = 0.1, 60.0
# Those who were refused together shall not come back together.
JITTER = 0.25


@dataclass(slots=True, eq=False)
class _Caller:
    """A caller who has work here."""

    name: str
    weight: float
    served: float
    """Tokens by weight, on a scale that all callers of the engine share."""
    waiting: "deque[Place]" = field(default_factory=deque)
    running: int = 0


@dataclass(slots=True, eq=False)
class Place:
    """A request's place, in the queue first if there is no other."""

    caller: _Caller
    tokens: int
    granted: "asyncio.Future[None]"
    granted_s: float | None = None
    used: int = 0
    """The tokens that it has taken, for its holder to tell before it leaves."""


class Admission:
    """Admits requests to one engine, or to the threads that tokenise.

    `busy` is what a refused caller is told to be so. Without `charged`, tokens only tell whose turn it is.
    """

    def __init__(
        self,
        bounds: Bounds,
        quotas: Quotas,
        clock: Callable[[], float] = time.monotonic,
        *,
        busy: str = "The model",
        charged: bool = True,
    ) -> None:
        self._bounds = bounds
        self._quotas = quotas
        self._clock = clock
        self._busy = busy
        self._charged = charged
        self._callers: dict[str, _Caller] = {}
        self._drain = DrainRate()
        self._departures: list[asyncio.Future[None]] = []
        """Those who wait for any place to be given back."""
        self._level = 0.0
        """What the caller had been served who got a place last."""
        self.running = 0
        self.running_tokens = 0
        self.queued = 0
        self.queued_tokens = 0

    @property
    def bounds(self) -> Bounds:
        return self._bounds

    @property
    def utilization(self) -> float:
        """The work that there is, as a share of the work that has a place: above 1 while some of it waits."""
        requests = (self.running + self.queued) / self._bounds.running_requests
        tokens = (self.running_tokens + self.queued_tokens) / self._bounds.running_tokens
        return max(requests, tokens)

    def check(self, caller: str) -> None:
        """Raises Overloaded or QuotaExceeded if a request of this caller would surely be refused now.

        For before anything is spent on reading the request.
        """
        self._quotas.check(caller, charged=self._charged)
        busy = self.queued or self.running >= self._bounds.running_requests
        if busy and self._is_full_for(0) and self._displaced_by(self._caller(caller)) is None:
            raise self._refusal()

    @asynccontextmanager
    async def place(self, caller: str, tokens: int, patience_s: float | None = None) -> AsyncIterator[Place]:
        """A place for a request of so many tokens, its prompt's and those it may generate.

        Waits for it, no longer than the task that waits is let. Raises QuotaExceeded; Overloaded, also from the queue,
        when another caller has the better right to it; and DeadlineExceeded for a wait that would be longer than
        `patience_s`.
        """
        self._quotas.enter(caller, charged=self._charged)
        place = None
        try:
            place = self._join(self._caller(caller), tokens, patience_s)
            await place.granted
            yield place
        finally:
            if place:
                self._leave(place)
            self._quotas.leave(caller, place.used if place and self._charged else 0)

    @asynccontextmanager
    async def bulk(self, caller: str) -> AsyncIterator["Bulk"]:
        """A call of many small requests, which wait where a call of its own would be refused.

        Raises QuotaExceeded, as for any call.
        """
        self._quotas.enter(caller)
        try:
            yield Bulk(self, caller)
        finally:
            self._quotas.leave(caller, 0)

    @asynccontextmanager
    async def part(self, caller: str, tokens: int) -> AsyncIterator[Place]:
        """A place for a part of a call that is counted already. Waits for the caller's tokens, and for the queue."""
        await self._quotas.wait_for_tokens(caller)
        place = await self._patiently_granted(caller, tokens)
        try:
            yield place
        finally:
            self._leave(place)
            self._quotas.charge(caller, place.used)

    async def _patiently_granted(self, caller: str, tokens: int) -> Place:
        while True:
            with suppress(Overloaded):
                return await self._granted(self._join(self._caller(caller), tokens, None))
            await self._next_departure()

    async def _granted(self, place: Place) -> Place:
        try:
            await place.granted
        except BaseException:
            self._leave(place)
            raise
        return place

    async def _next_departure(self) -> None:
        departure = asyncio.get_running_loop().create_future()
        self._departures.append(departure)
        await departure

    def _tell_departure(self) -> None:
        departures, self._departures = self._departures, []
        for departure in departures:
            if not departure.done():
                departure.set_result(None)

    def _join(self, caller: _Caller, tokens: int, patience_s: float | None) -> Place:
        place = Place(caller, tokens, asyncio.get_running_loop().create_future())
        self._callers[caller.name] = caller
        if not self.queued and self._fits(place):
            self._start(place)
            return place
        self._check_patience(caller, patience_s)
        self._make_room(caller, tokens)
        if not self.queued:
            self._drain.queue_began(self._clock())
        self.queued += 1
        self.queued_tokens += tokens
        caller.waiting.append(place)
        return place

    def _caller(self, name: str) -> _Caller:
        return self._callers.get(name) or _Caller(name, self._quotas.share(name).weight, self._level)

    def _fits(self, place: Place) -> bool:
        """One that is larger than all places together gets them when nobody else has one."""
        return self.running == 0 or (
            self.running < self._bounds.running_requests
            and self.running_tokens + place.tokens <= self._bounds.running_tokens
        )

    def _start(self, place: Place) -> None:
        caller = place.caller
        self._level = max(self._level, caller.served)
        caller.served += place.tokens / caller.weight
        caller.running += 1
        self.running += 1
        self.running_tokens += place.tokens
        place.granted_s = self._clock()
        # Its holder may have been cancelled a moment ago, and leaves in the next.
        if not place.granted.done():
            place.granted.set_result(None)

    def _leave(self, place: Place) -> None:
        """Gives back what the place holds."""
        if place.granted_s is not None:
            self._finish(place, place.granted_s)
        elif place in place.caller.waiting:
            self._leave_queue(place)
        self._forget_idle(place.caller)
        self._fill_places()
        self._tell_departure()

    def _finish(self, place: Place, granted_s: float) -> None:
        caller, now_s = place.caller, self._clock()
        caller.served += (place.used - place.tokens) / caller.weight
        caller.running -= 1
        self.running -= 1
        self.running_tokens -= place.tokens
        self._drain.departed(now_s, now_s - granted_s)

    def _leave_queue(self, place: Place) -> None:
        place.caller.waiting.remove(place)
        self.queued -= 1
        self.queued_tokens -= place.tokens
        if not self.queued:
            self._drain.queue_ended()

    def _fill_places(self) -> None:
        while waiting := [caller for caller in self._callers.values() if caller.waiting]:
            place = min(waiting, key=lambda caller: caller.served).waiting[0]
            # The others wait with it, or a large one would never have its turn.
            if not self._fits(place):
                return
            self._leave_queue(place)
            self._start(place)

    def _forget_idle(self, caller: _Caller) -> None:
        """Who comes back starts at the level; only a caller who is ahead of it has to be remembered."""
        if not self.queued:
            self._callers = {c.name: c for c in self._callers.values() if c.waiting or c.running}
        elif not caller.waiting and not caller.running and caller.served <= self._level:
            self._callers.pop(caller.name, None)

    def _check_patience(self, caller: _Caller, patience_s: float | None) -> None:
        wait_s = self._wait_s(self._ahead_of(caller))
        if patience_s is not None and wait_s is not None and wait_s > patience_s:
            raise DeadlineExceeded(
                f"It would wait for about {wait_s:.1f} s, which is longer than the {patience_s:.1f} s that it has.",
                retry_after_s=self._retry_after_s(),
            )

    def _ahead_of(self, caller: _Caller) -> int:
        """How many of those who wait will have their turn first."""
        weights = caller.weight + sum(c.weight for c in self._callers.values() if c.waiting and c is not caller)
        return min(self.queued, round(len(caller.waiting) * weights / caller.weight))

    def _wait_s(self, ahead: int) -> float | None:
        return self._drain.wait_s(self._clock(), ahead, self.running)

    def _make_room(self, caller: _Caller, tokens: int) -> None:
        """In a full queue the place of who has most is given to who has less. Raises Overloaded."""
        while self._is_full_for(tokens):
            displaced = self._displaced_by(caller)
            if displaced is None:
                raise self._refusal()
            self._leave_queue(displaced)
            if not displaced.granted.done():
                displaced.granted.set_exception(self._refusal())

    def _is_full_for(self, tokens: int) -> bool:
        """However many tokens one has, it may wait alone."""
        too_many_tokens = self.queued_tokens + tokens > self._bounds.queued_tokens
        return self.queued >= self._bounds.queued_requests or (self.queued > 0 and too_many_tokens)

    def _displaced_by(self, caller: _Caller) -> Place | None:
        """The youngest request of the caller with most in the queue, if it stays ahead of this one without it."""
        longest = max(self._callers.values(), key=_queue_by_weight, default=caller)
        if longest is caller or _queue_by_weight(longest) <= (len(caller.waiting) + 1) / caller.weight:
            return None
        return longest.waiting[-1]

    def _refusal(self) -> Overloaded:
        return Overloaded(
            f"{self._busy} is busy: {self.running} requests are being worked on, and {self.queued} wait.",
            metadata={"running_requests": str(self.running), "queued_requests": str(self.queued)},
            retry_after_s=self._retry_after_s(),
        )

    def _retry_after_s(self) -> float:
        """When the queue of now will be gone, at the rate at which it shrinks."""
        wait_s = self._wait_s(self.queued)
        shortest = RETRY_AFTER_S if wait_s is None else min(max(wait_s, SHORTEST_RETRY_S), LONGEST_RETRY_S)
        return shortest * random.uniform(1, 1 + JITTER)


class Bulk:
    """The places of one call with many parts. One part waits at a time, so that such a call doesn't fill the queue."""

    def __init__(self, admission: Admission, caller: str) -> None:
        self._admission = admission
        self._caller = caller
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def place(self, tokens: int) -> AsyncIterator[Place]:
        async with AsyncExitStack() as held:
            async with self._turn:
                place = await held.enter_async_context(self._admission.part(self._caller, tokens))
            yield place


def _queue_by_weight(caller: _Caller) -> float:
    return len(caller.waiting) / caller.weight
