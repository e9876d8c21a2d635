"""How busy a model is."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ModelLoad:
    """`cache_usage` is a share, 0 to 1; `waiting_tokens` those of requests that wait for a place."""

    model_id: str
    running_requests: int
    waiting_requests: int
    cache_usage: float
    waiting_tokens: int
