"""What a call cost: tokens and time."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens by the engine's own counts; `cached_tokens` are among the prompt's.

    `reasoning_tokens` are among those of the completion.
    `neutralized_spans` counts the places where a caller's text spells a control token, and was read as text.
    """

    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    neutralized_spans: int = 0
    reasoning_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds since the request arrived: until the engine began, until the first token, until the end."""

    queued_s: float
    time_to_first_token_s: float | None
    total_s: float


@dataclass(frozen=True, slots=True)
class MetricEvent:
    """One measured value; `timestamp_s` is Unix time."""

    metric: str
    value: int | float
    unit: str
    trace_id: str
    span_id: str
    timestamp_s: float
    attributes: Mapping[str, str]
