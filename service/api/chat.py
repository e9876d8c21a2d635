"""Chat: a conversation in, the next message out."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, TypeAlias

from pydantic import Field

from service.api.base import ApiModel
from service.api.messages import CompletionMessage, Message
from service.api.response_format import ConstraintOutcome, ResponseFormat
from service.api.sampling import LogProbConfig, SamplingParams, TokenLogProbs
from service.api.tools import ToolConfig, ToolDefinition
from service.api.usage import MetricEvent, Timings, Usage

MAX_TOOLS = 128

Messages: TypeAlias = Annotated[tuple[Message, ...], Field(min_length=1)]
Tools: TypeAlias = Annotated[tuple[ToolDefinition, ...], Field(max_length=MAX_TOOLS)]


class ReasoningConfig(ApiModel):
    """How a model thinks before it answers; `max_tokens` None or 0 is no limit of its own."""

    enabled: bool | None = None
    max_tokens: int | None = Field(None, ge=0)
    hidden: bool = False


class ChatCompletionRequest(ApiModel):
    model_id: str = Field(min_length=1)
    messages: Messages
    sampling_params: SamplingParams | None = None
    tools: Tools = ()
    tool_config: ToolConfig | None = None
    response_format: ResponseFormat | None = None
    logprobs: LogProbConfig | None = None
    first_token_timeout: timedelta | None = Field(None, gt=timedelta(0))
    reasoning: ReasoningConfig | None = None


@dataclass(frozen=True, slots=True)
class ChatCompletionResponse:
    completion_message: CompletionMessage
    logprobs: Sequence[TokenLogProbs]
    metrics: Sequence[MetricEvent]
    usage: Usage
    timings: Timings
    constraint_outcome: ConstraintOutcome | None
    model_id: str
    request_id: str
    stop_string: str | None = None
    reasoning_truncated: bool = False
