"""How busy a server is, and each of its models."""

from collections.abc import Sequence
from dataclasses import dataclass

from service.api.models import ModelState


@dataclass(frozen=True, slots=True)
class ModelLoad:
    """`cache_usage` is a share, 0 to 1; `waiting_tokens` those of requests that wait for a place.

    Totals are of the time since the server started.
    """

    model_id: str
    running_requests: int
    waiting_requests: int
    cache_usage: float
    waiting_tokens: int
    state: ModelState
    prompt_tokens_total: int
    generated_tokens_total: int


@dataclass(frozen=True, slots=True)
class ServerLoad:
    models: Sequence[ModelLoad]
    in_flight_calls: int
    draining: bool


@dataclass(frozen=True, slots=True)
class LoadReport:
    """For who balances between servers. `utilization` is the busiest model's, above 1 where requests wait for it; calls
    are those that have ended, and failures those that the server is to blame for.
    """

    utilization: float
    calls_per_second: float
    failures_per_second: float
    models: Sequence[ModelLoad]
