"""What happens while an answer is generated: one Start, any number of Progress, exactly one Complete.

Chat and completion stream the same events; the deltas of a completion are always text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from service.api.content import ContentDelta
from service.api.messages import StopReason
from service.api.response_format import ConstraintOutcome
from service.api.sampling import TokenLogProbs
from service.api.usage import MetricEvent, Timings, Usage


@dataclass(frozen=True, slots=True)
class Start:
    sequence: int
    model_id: str
    request_id: str


@dataclass(frozen=True, slots=True)
class Progress:
    """New content; `stop_reason` is set on the last delta of a tool call."""

    sequence: int
    delta: ContentDelta
    logprobs: Sequence[TokenLogProbs] = ()
    stop_reason: StopReason | None = None


@dataclass(frozen=True, slots=True)
class Complete:
    sequence: int
    stop_reason: StopReason
    usage: Usage
    timings: Timings
    metrics: Sequence[MetricEvent]
    constraint_outcome: ConstraintOutcome | None = None
    stop_string: str | None = None
    reasoning_truncated: bool = False


Event: TypeAlias = Start | Progress | Complete
