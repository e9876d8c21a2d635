"""How much work there may be, in all and for one caller."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bounds:
    """The most work that one model has at a time. A request's tokens are its prompt's and those it may generate."""

    running_requests: int
    running_tokens: int
    queued_requests: int
    queued_tokens: int


@dataclass(frozen=True, slots=True)
class Share:
    """What one caller may have of all models together; None is without a limit."""

    weight: float = 1.0
    """A caller of weight 2 gets twice the tokens of one of weight 1, when both want more than there is."""
    concurrent_calls: int | None = None
    tokens_per_minute: int | None = None
