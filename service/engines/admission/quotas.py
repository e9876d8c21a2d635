"""What each caller has used of its own limits, over all models."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from service.engines.admission.bounds import Share
from service.errors import QuotaExceeded

MINUTE_S = 60.0
RETRY_AFTER_CALL_S = 1.0
"""When a call of one's own ends is the caller's to know; this only keeps it from asking all the time."""
NO_LIMITS = Share()


@dataclass(slots=True)
class _Use:
    """`tokens_left` may be negative: what a call will cost is known when it ends."""

    calls: int
    tokens_left: float
    at_s: float


class Quotas:
    """Holds callers to their shares."""

    def __init__(
        self,
        shares: Mapping[str, Share] | None = None,
        default: Share = NO_LIMITS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._shares = shares or {}
        self._default = default
        self._clock = clock
        self._uses: dict[str, _Use] = {}

    def share(self, caller: str) -> Share:
        return self._shares.get(caller, self._default)

    def enter(self, caller: str, *, charged: bool = True) -> None:
        """Counts a call. Raises QuotaExceeded; for its tokens only where the call is charged for those it takes."""
        share, use = self.share(caller), self._use(caller)
        self._check(share, use, charged)
        use.calls += 1

    def check(self, caller: str, *, charged: bool = True) -> None:
        """Raises QuotaExceeded where `enter` would."""
        self._check(self.share(caller), self._use(caller), charged)

    def leave(self, caller: str, tokens: int) -> None:
        """`tokens` is what the call has cost: its prompt's tokens and the generated ones."""
        use = self._use(caller)
        use.calls -= 1
        use.tokens_left -= tokens
        self._forget_if_idle(caller, use)

    def charge(self, caller: str, tokens: int) -> None:
        """What a part of a call under way has cost."""
        self._use(caller).tokens_left -= tokens

    async def wait_for_tokens(self, caller: str) -> None:
        """Until the caller has some left."""
        limit = self.share(caller).tokens_per_minute
        # Tokens come with time alone: there is no event to wait for.
        while limit is not None and (use := self._use(caller)).tokens_left <= 0:  # noqa: ASYNC110
            await asyncio.sleep(_refill_s(use, limit))

    def _check(self, share: Share, use: _Use, charged: bool) -> None:
        if share.concurrent_calls is not None and use.calls >= share.concurrent_calls:
            raise QuotaExceeded(
                f"The caller has {use.calls} calls under way, which is its limit.",
                metadata={"limit": "concurrent_calls", "value": str(share.concurrent_calls)},
                retry_after_s=RETRY_AFTER_CALL_S,
            )
        if charged and share.tokens_per_minute is not None and use.tokens_left <= 0:
            raise QuotaExceeded(
                f"The caller has used up its {share.tokens_per_minute} tokens a minute.",
                metadata={"limit": "tokens_per_minute", "value": str(share.tokens_per_minute)},
                retry_after_s=_refill_s(use, share.tokens_per_minute),
            )

    def _use(self, caller: str) -> _Use:
        """Refilled up to now."""
        now_s, budget = self._clock(), self.share(caller).tokens_per_minute or 0
        use = self._uses.setdefault(caller, _Use(0, budget, now_s))
        use.tokens_left = min(budget, use.tokens_left + budget * (now_s - use.at_s) / MINUTE_S)
        use.at_s = now_s
        return use

    def _forget_if_idle(self, caller: str, use: _Use) -> None:
        """Callers may be named by metadata: there is no end to them."""
        if use.calls == 0 and self.share(caller).tokens_per_minute is None:
            del self._uses[caller]


def _refill_s(use: _Use, tokens_per_minute: int) -> float:
    """How long until there is a token again."""
    return (1 - use.tokens_left) * MINUTE_S / tokens_per_minute
