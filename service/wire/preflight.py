"""Preflight requests and reports."""

from typing import Any

from inferwire.v1 import errors_pb2
from inferwire.v1 import preflight_pb2 as pb
from service.api.chat import ChatCompletionRequest
from service.api.completion import CompletionRequest
from service.api.preflight import PreflightReport
from service.errors import FieldViolation, UnknownField
from service.wire.chat import chat_request_from_proto, chat_request_to_proto
from service.wire.completion import completion_request_from_proto, completion_request_to_proto
from service.wire.fields import chosen
from service.wire.tools import PROMPT_FORMAT

REASONS = {number: name.removeprefix("ERROR_REASON_") for name, number in errors_pb2.ErrorReason.items() if number}
NUMBERS: dict[str, Any] = {name: number for number, name in REASONS.items()}


def preflight_request_from_proto(message: pb.PreflightRequest) -> ChatCompletionRequest | CompletionRequest:
    """Field paths in errors are those of the request inside."""
    if chosen(message, "request") == "chat":
        return chat_request_from_proto(message.chat)
    return completion_request_from_proto(message.completion)


def preflight_request_to_proto(request: ChatCompletionRequest | CompletionRequest) -> pb.PreflightRequest:
    match request:
        case ChatCompletionRequest():
            return pb.PreflightRequest(chat=chat_request_to_proto(request))
        case CompletionRequest():
            return pb.PreflightRequest(completion=completion_request_to_proto(request))


def preflight_report_from_proto(message: pb.PreflightResponse) -> PreflightReport:
    return PreflightReport(
        accepted=message.accepted,
        violations=tuple(map(_violation_from_proto, message.violations)),
        prompt=message.prompt,
        prompt_tokens=message.prompt_tokens,
        context_tokens_left=message.context_tokens_left,
        tool_prompt_format=PROMPT_FORMAT.from_proto(message.tool_prompt_format, "tool_prompt_format"),
        constraint=message.constraint,
        neutralized_spans=message.neutralized_spans,
    )


def preflight_report_to_proto(report: PreflightReport) -> pb.PreflightResponse:
    return pb.PreflightResponse(
        accepted=report.accepted,
        violations=map(_violation_to_proto, report.violations),
        prompt=report.prompt,
        prompt_tokens=report.prompt_tokens,
        context_tokens_left=report.context_tokens_left,
        tool_prompt_format=PROMPT_FORMAT.to_proto(report.tool_prompt_format),
        constraint=report.constraint,
        neutralized_spans=report.neutralized_spans,
    )


def _violation_from_proto(message: pb.Violation) -> FieldViolation:
    if message.reason and message.reason not in REASONS:
        raise UnknownField("reason", f"The value {message.reason} is unknown to this client.")
    return FieldViolation(message.field, message.description, REASONS.get(message.reason, ""))


def _violation_to_proto(violation: FieldViolation) -> pb.Violation:
    return pb.Violation(
        field=violation.field,
        description=violation.description,
        reason=NUMBERS.get(violation.reason, 0),
    )
