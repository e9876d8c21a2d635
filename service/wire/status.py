"""Errors <-> gRPC statuses with google.rpc details."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil

import grpc
from google.protobuf.any_pb2 import Any as ProtoAny
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2 as details_pb
from google.rpc import status_pb2

from service import errors
from service.errors import FieldViolation, InferwireError, RequestError
from service.wire.usage import seconds_from_proto, seconds_to_proto

DOMAIN = "inferwire"
DETAILS_KEY = "grpc-status-details-bin"
PUSHBACK_KEY = "grpc-retry-pushback-ms"
# The same in HTTP's words, for proxies and for callers of theirs that know nothing of gRPC.
RETRY_AFTER_KEY = "retry-after"

# gRPC throws a status away and says RESOURCE_EXHAUSTED when its metadata exceeds 8 KiB. The message counts there up to
# four times (percent-encoded, and once more in the details), the details 4/3 times (base64).
MESSAGE_BYTES = 768
VIOLATIONS_BYTES = 2048
METADATA_VALUE_BYTES = 512

CODES: dict[type[InferwireError], grpc.StatusCode] = {
    errors.MalformedMessage: grpc.StatusCode.INVALID_ARGUMENT,
    errors.InvalidField: grpc.StatusCode.INVALID_ARGUMENT,
    errors.UnknownField: grpc.StatusCode.INVALID_ARGUMENT,
    errors.InvalidConstraint: grpc.StatusCode.INVALID_ARGUMENT,
    errors.ContextLengthExceeded: grpc.StatusCode.INVALID_ARGUMENT,
    errors.MessageTooLarge: grpc.StatusCode.INVALID_ARGUMENT,
    errors.UnsupportedByModel: grpc.StatusCode.INVALID_ARGUMENT,
    errors.FeatureNotImplemented: grpc.StatusCode.UNIMPLEMENTED,
    errors.ModelNotFound: grpc.StatusCode.NOT_FOUND,
    errors.WrongModelType: grpc.StatusCode.FAILED_PRECONDITION,
    errors.ModelExists: grpc.StatusCode.ALREADY_EXISTS,
    errors.ModelNotLoadable: grpc.StatusCode.FAILED_PRECONDITION,
    errors.ModelNotRemovable: grpc.StatusCode.FAILED_PRECONDITION,
    errors.ModelNotReady: grpc.StatusCode.UNAVAILABLE,
    errors.Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.QuotaExceeded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.EngineFailed: grpc.StatusCode.UNAVAILABLE,
    errors.Draining: grpc.StatusCode.UNAVAILABLE,
    errors.AbortedByServer: grpc.StatusCode.ABORTED,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
    errors.InternalError: grpc.StatusCode.INTERNAL,
}
BY_REASON = {error.reason: error for error in CODES}


@dataclass(frozen=True, slots=True)
class Status:
    """What a failed call ends with."""

    code: grpc.StatusCode
    message: str
    trailing_metadata: tuple[tuple[str, str | bytes], ...]


def status_code(error: InferwireError) -> grpc.StatusCode:
    return CODES[type(error)]


def status_from_error(error: InferwireError, request_id: str) -> Status:
    packed = packed_status(error, request_id)
    metadata: list[tuple[str, str | bytes]] = [(DETAILS_KEY, packed.SerializeToString())]
    if error.retry_after_s is not None:
        metadata.extend(_retry_metadata(error.retry_after_s))
    return Status(status_code(error), packed.message, tuple(metadata))


def _retry_metadata(delay_s: float) -> Iterator[tuple[str, str]]:
    yield PUSHBACK_KEY, str(round(delay_s * 1000))
    # Whole seconds are all that HTTP has. Never too few, and never 0, which would say nothing.
    yield RETRY_AFTER_KEY, str(max(1, ceil(delay_s)))


def packed_status(error: InferwireError, request_id: str) -> status_pb2.Status:
    number: int = status_code(error).value[0]
    message = _cut(error.message, MESSAGE_BYTES)
    return status_pb2.Status(code=number, message=message, details=_details(error, request_id))


def _details(error: InferwireError, request_id: str) -> Iterator[ProtoAny]:
    facts = {key: _cut(value, METADATA_VALUE_BYTES) for key, value in error.metadata.items()}
    yield _packed(details_pb.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=facts))
    if isinstance(error, RequestError):
        yield _packed(details_pb.BadRequest(field_violations=_violations_that_fit(error.violations)))
    if error.retry_after_s is not None:
        yield _packed(details_pb.RetryInfo(retry_delay=seconds_to_proto(error.retry_after_s)))
    yield _packed(details_pb.RequestInfo(request_id=request_id))


def _violations_that_fit(violations: Sequence[FieldViolation]) -> Iterator[details_pb.BadRequest.FieldViolation]:
    left = VIOLATIONS_BYTES
    for violation in violations:
        message = details_pb.BadRequest.FieldViolation(
            field=violation.field, description=_cut(violation.description, MESSAGE_BYTES)
        )
        left -= message.ByteSize()
        if left < 0:
            return
        yield message


def _cut(text: str, size_bytes: int) -> str:
    encoded = text.encode()
    if len(encoded) <= size_bytes:
        return text
    return encoded[: size_bytes - len("…".encode())].decode(errors="ignore") + "…"


def _packed(
    detail: details_pb.ErrorInfo | details_pb.BadRequest | details_pb.RetryInfo | details_pb.RequestInfo,
) -> ProtoAny:
    packed = ProtoAny()
    packed.Pack(detail)
    return packed


def error_from_rpc(failure: grpc.aio.AioRpcError) -> InferwireError | None:
    """The error that a server of ours sent, or None when the status came from elsewhere (the network, a proxy)."""
    return error_from_details(_details_of(failure), failure.details() or "")


def error_from_details(details: Sequence[ProtoAny], message: str) -> InferwireError | None:
    """None when the details are not of ours, or tell of a reason that this build doesn't know."""
    info = details_pb.ErrorInfo()
    if not any(detail.Unpack(info) for detail in details) or info.domain != DOMAIN or info.reason not in BY_REASON:
        return None
    return _rebuild(BY_REASON[info.reason], message, info, details)


def _details_of(failure: grpc.aio.AioRpcError) -> list[ProtoAny]:
    for key, value in failure.trailing_metadata() or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            try:
                return list(status_pb2.Status.FromString(value).details)
            except DecodeError:
                return []
    return []


def _rebuild(
    kind: type[InferwireError], message: str, info: details_pb.ErrorInfo, details: Sequence[ProtoAny]
) -> InferwireError:
    if issubclass(kind, RequestError):
        request_error = kind.of(_violations(details) or [FieldViolation("", message)])
        request_error.metadata = dict(info.metadata)
        return request_error
    retry = details_pb.RetryInfo()
    retries = any(detail.Unpack(retry) for detail in details)
    delay = seconds_from_proto(retry.retry_delay) if retries else None
    return kind(message, metadata=dict(info.metadata), retry_after_s=delay)


def _violations(details: Sequence[ProtoAny]) -> list[FieldViolation]:
    bad_request = details_pb.BadRequest()
    if not any(detail.Unpack(bad_request) for detail in details):
        return []
    return [FieldViolation(v.field, v.description) for v in bad_request.field_violations]
