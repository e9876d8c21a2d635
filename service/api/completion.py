"""Completion: text in, its continuation out."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from pydantic import Field

from service.api.base import ApiModel
from service.api.content import InterleavedContent
from service.api.messages import StopReason
from service.api.response_format import ConstraintOutcome, ResponseFormat
from service.api.sampling import LogProbConfig, SamplingParams, TokenLogProbs
from service.api.usage import MetricEvent, Timings, Usage


class CompletionRequest(ApiModel):
    model_id: str = Field(min_length=1)
    content: InterleavedContent
    sampling_params: SamplingParams | None = None
    response_format: ResponseFormat | None = None
    logprobs: LogProbConfig | None = None
    first_token_timeout: timedelta | None = Field(None, gt=timedelta(0))


@dataclass(frozen=True, slots=True)
class CompletionResponse:
    content: str
    stop_reason: StopReason
    logprobs: Sequence[TokenLogProbs]
    metrics: Sequence[MetricEvent]
    usage: Usage
    timings: Timings
    constraint_outcome: ConstraintOutcome | None
    model_id: str
    request_id: str
    stop_string: str | None = None
