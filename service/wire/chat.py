"""Chat requests, answers and stream chunks."""

from dataclasses import replace
from typing import Any, assert_never

from inferwire.v1 import chat_pb2 as pb
from inferwire.v1 import content_pb2, messages_pb2
from service.api.chat import ChatCompletionRequest, ChatCompletionResponse, ReasoningConfig
from service.api.events import Complete, Event, Progress, Start
from service.errors import UnknownField
from service.wire.content import delta_from_proto, delta_to_proto
from service.wire.fields import at, build, each, gathered, given, maybe, optional
from service.wire.messages import (
    STOP_REASON,
    completion_message_from_proto,
    completion_message_to_proto,
    message_from_proto,
    message_to_proto,
)
from service.wire.response_format import CONSTRAINT_OUTCOME, response_format_from_proto, response_format_to_proto
from service.wire.sampling import (
    log_prob_config_from_proto,
    log_prob_config_to_proto,
    logprobs_from_proto,
    logprobs_to_proto,
    sampling_params_from_proto,
    sampling_params_to_proto,
)
from service.wire.tools import (
    tool_config_from_proto,
    tool_config_to_proto,
    tool_definition_from_proto,
    tool_definition_to_proto,
)
from service.wire.usage import (
    metric_to_proto,
    metrics_from_proto,
    timedelta_to_proto,
    timeout_from_proto,
    timings_from_proto,
    timings_to_proto,
    usage_from_proto,
    usage_to_proto,
)

START = pb.RESPONSE_EVENT_TYPE_START
PROGRESS = pb.RESPONSE_EVENT_TYPE_PROGRESS
COMPLETE = pb.RESPONSE_EVENT_TYPE_COMPLETE
EMPTY_TEXT = content_pb2.ContentDelta(text=content_pb2.TextDelta())


def chat_request_from_proto(message: pb.ChatCompletionRequest) -> ChatCompletionRequest:
    return build(
        ChatCompletionRequest,
        **gathered(
            model_id=lambda: message.model_id,
            messages=lambda: each(message.messages, "messages", message_from_proto),
            sampling_params=lambda: maybe(message, "sampling_params", sampling_params_from_proto),
            tools=lambda: each(message.tools, "tools", tool_definition_from_proto),
            tool_config=lambda: maybe(message, "tool_config", tool_config_from_proto),
            response_format=lambda: maybe(message, "response_format", response_format_from_proto),
            logprobs=lambda: maybe(message, "logprobs", log_prob_config_from_proto),
            first_token_timeout=lambda: maybe(message, "first_token_timeout", timeout_from_proto),
            reasoning=lambda: maybe(message, "reasoning", reasoning_config_from_proto),
        ),
    )


def chat_request_to_proto(request: ChatCompletionRequest) -> pb.ChatCompletionRequest:
    response_format = None if request.response_format is None else response_format_to_proto(request.response_format)
    return pb.ChatCompletionRequest(
        model_id=request.model_id,
        messages=map(message_to_proto, request.messages),
        sampling_params=given(sampling_params_to_proto, request.sampling_params),
        tools=map(tool_definition_to_proto, request.tools),
        tool_config=given(tool_config_to_proto, request.tool_config),
        response_format=response_format,
        logprobs=given(log_prob_config_to_proto, request.logprobs),
        first_token_timeout=given(timedelta_to_proto, request.first_token_timeout),
        reasoning=given(reasoning_config_to_proto, request.reasoning),
    )


def reasoning_config_from_proto(message: pb.ReasoningConfig) -> ReasoningConfig:
    return build(
        ReasoningConfig,
        enabled=optional(message, "enabled"),
        max_tokens=optional(message, "max_tokens"),
        hidden=message.hidden,
    )


def reasoning_config_to_proto(config: ReasoningConfig) -> pb.ReasoningConfig:
    return pb.ReasoningConfig(enabled=config.enabled, max_tokens=config.max_tokens, hidden=config.hidden)


def chat_response_from_proto(message: pb.ChatCompletionResponse) -> ChatCompletionResponse:
    return ChatCompletionResponse(
        completion_message=completion_message_from_proto(message.completion_message),
        logprobs=logprobs_from_proto(message.logprobs),
        metrics=metrics_from_proto(message.metrics),
        usage=usage_from_proto(message.usage),
        timings=timings_from_proto(message.timings),
        constraint_outcome=CONSTRAINT_OUTCOME.from_proto(message.constraint_outcome, "constraint_outcome"),
        model_id=message.model_id,
        request_id=message.request_id,
        stop_string=optional(message, "stop_string"),
        reasoning_truncated=message.reasoning_truncated,
    )


def chat_response_to_proto(response: ChatCompletionResponse) -> pb.ChatCompletionResponse:
    return pb.ChatCompletionResponse(
        completion_message=completion_message_to_proto(response.completion_message),
        logprobs=logprobs_to_proto(response.logprobs),
        metrics=map(metric_to_proto, response.metrics),
        usage=usage_to_proto(response.usage),
        timings=timings_to_proto(response.timings),
        constraint_outcome=CONSTRAINT_OUTCOME.to_proto(response.constraint_outcome),
        model_id=response.model_id,
        request_id=response.request_id,
        stop_string=response.stop_string,
        reasoning_truncated=response.reasoning_truncated,
    )


def chat_chunk_from_proto(message: pb.ChatCompletionResponseStreamChunk) -> Event:
    event = message.event
    match event.event_type:
        case pb.RESPONSE_EVENT_TYPE_START:
            return Start(message.sequence, message.model_id, message.request_id)
        case pb.RESPONSE_EVENT_TYPE_COMPLETE:
            complete = complete_from_proto(message, event.stop_reason)
            return replace(complete, reasoning_truncated=message.reasoning_truncated)
        case pb.RESPONSE_EVENT_TYPE_PROGRESS:
            with at("event"):
                return _progress_from_proto(message.sequence, event)
        case unknown:
            raise UnknownField("event.event_type", f"The value {unknown} is unknown to this client.")


def _progress_from_proto(sequence: int, event: pb.ChatCompletionResponseEvent) -> Progress:
    with at("delta"):
        delta = delta_from_proto(event.delta)
    return Progress(
        sequence=sequence,
        delta=delta,
        logprobs=logprobs_from_proto(event.logprobs),
        stop_reason=STOP_REASON.from_proto(event.stop_reason, "stop_reason"),
    )


def chat_chunk_to_proto(event: Event) -> pb.ChatCompletionResponseStreamChunk:
    match event:
        case Progress():
            return pb.ChatCompletionResponseStreamChunk(
                sequence=event.sequence,
                event=pb.ChatCompletionResponseEvent(
                    event_type=PROGRESS,
                    delta=delta_to_proto(event.delta),
                    logprobs=logprobs_to_proto(event.logprobs),
                    stop_reason=STOP_REASON.to_proto(event.stop_reason),
                ),
            )
        case Start():
            return pb.ChatCompletionResponseStreamChunk(
                sequence=event.sequence,
                event=pb.ChatCompletionResponseEvent(event_type=START, delta=EMPTY_TEXT),
                model_id=event.model_id,
                request_id=event.request_id,
            )
        case Complete():
            stop_reason = STOP_REASON.to_proto(event.stop_reason)
            return pb.ChatCompletionResponseStreamChunk(
                event=pb.ChatCompletionResponseEvent(event_type=COMPLETE, delta=EMPTY_TEXT, stop_reason=stop_reason),
                reasoning_truncated=event.reasoning_truncated,
                **complete_fields(event),
            )
        case _:
            assert_never(event)


def complete_from_proto(message: Any, stop_reason: messages_pb2.StopReason.ValueType) -> Complete:
    """The last event of a stream, from the chunk of a chat or of a completion."""
    return Complete(
        sequence=message.sequence,
        stop_reason=STOP_REASON.required_from_proto(stop_reason, "stop_reason"),
        usage=usage_from_proto(message.usage),
        timings=timings_from_proto(message.timings),
        metrics=metrics_from_proto(message.metrics),
        constraint_outcome=CONSTRAINT_OUTCOME.from_proto(message.constraint_outcome, "constraint_outcome"),
        stop_string=optional(message, "stop_string"),
    )


def complete_fields(event: Complete) -> dict[str, Any]:
    """The fields that the last chunks of a chat and of a completion have in common."""
    return {
        "sequence": event.sequence,
        "usage": usage_to_proto(event.usage),
        "timings": timings_to_proto(event.timings),
        "metrics": map(metric_to_proto, event.metrics),
        "constraint_outcome": CONSTRAINT_OUTCOME.to_proto(event.constraint_outcome),
        "stop_string": event.stop_string,
    }
