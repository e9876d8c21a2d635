"""Completion requests, answers and stream chunks."""

from typing import assert_never

from inferwire.v1 import completion_pb2 as pb
from service.api.completion import CompletionRequest, CompletionResponse
from service.api.content import TextDelta
from service.api.events import Complete, Event, Progress, Start
from service.errors import UnknownField
from service.wire.chat import COMPLETE, PROGRESS, START, complete_fields, complete_from_proto
from service.wire.content import content_to_proto
from service.wire.fields import build, gathered, given, maybe, optional
from service.wire.messages import STOP_REASON, required_content
from service.wire.response_format import CONSTRAINT_OUTCOME, response_format_from_proto, response_format_to_proto
from service.wire.sampling import (
    log_prob_config_from_proto,
    log_prob_config_to_proto,
    logprobs_from_proto,
    logprobs_to_proto,
    sampling_params_from_proto,
    sampling_params_to_proto,
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


def completion_request_from_proto(message: pb.CompletionRequest) -> CompletionRequest:
    return build(
        CompletionRequest,
        **gathered(
            model_id=lambda: message.model_id,
            content=lambda: required_content(message),
            sampling_params=lambda: maybe(message, "sampling_params", sampling_params_from_proto),
            response_format=lambda: maybe(message, "response_format", response_format_from_proto),
            logprobs=lambda: maybe(message, "logprobs", log_prob_config_from_proto),
            first_token_timeout=lambda: maybe(message, "first_token_timeout", timeout_from_proto),
        ),
    )


def completion_request_to_proto(request: CompletionRequest) -> pb.CompletionRequest:
    response_format = None if request.response_format is None else response_format_to_proto(request.response_format)
    return pb.CompletionRequest(
        model_id=request.model_id,
        content=content_to_proto(request.content),
        sampling_params=given(sampling_params_to_proto, request.sampling_params),
        response_format=response_format,
        logprobs=given(log_prob_config_to_proto, request.logprobs),
        first_token_timeout=given(timedelta_to_proto, request.first_token_timeout),
    )


def completion_response_from_proto(message: pb.CompletionResponse) -> CompletionResponse:
    return CompletionResponse(
        content=message.content,
        stop_reason=STOP_REASON.required_from_proto(message.stop_reason, "stop_reason"),
        logprobs=logprobs_from_proto(message.logprobs),
        metrics=metrics_from_proto(message.metrics),
        usage=usage_from_proto(message.usage),
        timings=timings_from_proto(message.timings),
        constraint_outcome=CONSTRAINT_OUTCOME.from_proto(message.constraint_outcome, "constraint_outcome"),
        model_id=message.model_id,
        request_id=message.request_id,
        stop_string=optional(message, "stop_string"),
    )


def completion_response_to_proto(response: CompletionResponse) -> pb.CompletionResponse:
    return pb.CompletionResponse(
        content=response.content,
        stop_reason=STOP_REASON.to_proto(response.stop_reason),
        logprobs=logprobs_to_proto(response.logprobs),
        metrics=map(metric_to_proto, response.metrics),
        usage=usage_to_proto(response.usage),
        timings=timings_to_proto(response.timings),
        constraint_outcome=CONSTRAINT_OUTCOME.to_proto(response.constraint_outcome),
        model_id=response.model_id,
        request_id=response.request_id,
        stop_string=response.stop_string,
    )


def completion_chunk_from_proto(message: pb.CompletionResponseStreamChunk) -> Event:
    match message.event_type:
        case v if v == START:
            return Start(message.sequence, message.model_id, message.request_id)
        case v if v == COMPLETE:
            return complete_from_proto(message, message.stop_reason)
        case v if v == PROGRESS:
            return Progress(message.sequence, TextDelta(message.delta), logprobs_from_proto(message.logprobs))
        case unknown:
            raise UnknownField("event_type", f"The value {unknown} is unknown to this client.")


def completion_chunk_to_proto(event: Event) -> pb.CompletionResponseStreamChunk:
    match event:
        case Progress(delta=TextDelta(text=text)):
            return pb.CompletionResponseStreamChunk(
                event_type=PROGRESS,
                sequence=event.sequence,
                delta=text,
                logprobs=logprobs_to_proto(event.logprobs),
            )
        case Progress():
            raise TypeError("A completion has no other deltas than text.")
        case Start():
            return pb.CompletionResponseStreamChunk(
                event_type=START,
                sequence=event.sequence,
                model_id=event.model_id,
                request_id=event.request_id,
            )
        case Complete():
            return pb.CompletionResponseStreamChunk(
                event_type=COMPLETE,
                stop_reason=STOP_REASON.to_proto(event.stop_reason),
                **complete_fields(event),
            )
        case _:
            assert_never(event)
