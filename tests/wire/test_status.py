"""Every error as a status with google.rpc details, and back."""

from collections.abc import Sequence
from typing import Any, TypeVar

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2 as details_pb
from google.rpc import status_pb2
from hypothesis import given
from hypothesis import strategies as st

from service.errors import FieldViolation, InferwireError, InternalError, InvalidField, Overloaded, RequestError
from service.wire.status import (
    CODES,
    DETAILS_KEY,
    DOMAIN,
    PUSHBACK_KEY,
    RETRY_AFTER_KEY,
    Status,
    error_from_rpc,
    status_from_error,
)

Detail = TypeVar("Detail", bound=Message)

VIOLATIONS = [FieldViolation("messages[0]", "A value is required."), FieldViolation("model_id", "Too short.")]
# What gRPC lets through; a status with more arrives as RESOURCE_EXHAUSTED, without its details.
METADATA_LIMIT_BYTES = 8192

every_kind = pytest.mark.parametrize("kind", CODES, ids=lambda kind: kind.__name__)
kinds_to_retry = pytest.mark.parametrize(
    "kind", [kind for kind in CODES if not issubclass(kind, RequestError)], ids=lambda kind: kind.__name__
)


def make(kind: type[InferwireError]) -> InferwireError:
    if not issubclass(kind, RequestError):
        return kind("It can't be done now.", metadata={"limit": "8"})
    error = kind.of(VIOLATIONS)
    error.metadata = {"limit": "8"}
    return error


def packed(status: Status) -> status_pb2.Status:
    return status_pb2.Status.FromString(dict(status.trailing_metadata)[DETAILS_KEY])


def details(status: Status, kind: type[Detail]) -> list[Detail]:
    found = []
    for detail in packed(status).details:
        message = kind()
        if detail.Unpack(message):
            found.append(message)
    return found


def received(status: Status) -> grpc.aio.AioRpcError:
    """The status as a caller of grpc.aio sees it."""
    return failure(status.code, status.message, status.trailing_metadata)


def failure(code: grpc.StatusCode, message: str, trailing: Sequence[tuple[str, Any]]) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(*trailing), details=message)


@every_kind
def test_the_details_repeat_the_status(kind: type[InferwireError]) -> None:
    error = make(kind)
    status = status_from_error(error, "r-1")

    assert (status.code, status.message) == (CODES[kind], error.message)
    assert (packed(status).code, packed(status).message) == (status.code.value[0], status.message)


@every_kind
def test_the_details_hold_reason_facts_and_request(kind: type[InferwireError]) -> None:
    status = status_from_error(make(kind), "r-1")

    info = details_pb.ErrorInfo(reason=kind.reason, domain=DOMAIN, metadata={"limit": "8"})
    assert details(status, details_pb.ErrorInfo) == [info]
    assert details(status, details_pb.RequestInfo) == [details_pb.RequestInfo(request_id="r-1")]


@every_kind
def test_fields_are_blamed_for_request_errors_only(kind: type[InferwireError]) -> None:
    blamed = [
        (violation.field, violation.description)
        for bad_request in details(status_from_error(make(kind), "r-1"), details_pb.BadRequest)
        for violation in bad_request.field_violations
    ]
    assert blamed == ([(v.field, v.description) for v in VIOLATIONS] if issubclass(kind, RequestError) else [])


@every_kind
def test_an_error_survives_the_way_to_the_caller(kind: type[InferwireError]) -> None:
    error = make(kind)
    again = error_from_rpc(received(status_from_error(error, "r-1")))

    assert type(again) is kind
    assert (again.message, again.metadata, again.retry_after_s) == (error.message, error.metadata, None)
    assert getattr(again, "violations", None) == getattr(error, "violations", None)


@kinds_to_retry
def test_a_delay_to_retry_after_is_sent_in_details_and_to_grpc(kind: type[InferwireError]) -> None:
    error = kind("Later.", retry_after_s=2.5)
    status = status_from_error(error, "r-1")

    (retry,) = details(status, details_pb.RetryInfo)
    assert retry.retry_delay.ToMilliseconds() == 2500
    assert dict(status.trailing_metadata)[PUSHBACK_KEY] == "2500"
    again = error_from_rpc(received(status))
    assert again is not None
    assert again.retry_after_s == 2.5


@pytest.mark.parametrize("delay_s", [0, 0.0])
def test_no_delay_at_all_is_sent_too(delay_s: float) -> None:
    status = status_from_error(Overloaded("Now.", retry_after_s=delay_s), "r-1")
    assert len(details(status, details_pb.RetryInfo)) == 1
    assert dict(status.trailing_metadata)[PUSHBACK_KEY] == "0"


@every_kind
def test_without_a_delay_nothing_suggests_a_retry(kind: type[InferwireError]) -> None:
    status = status_from_error(make(kind), "r-1")
    assert details(status, details_pb.RetryInfo) == []
    assert {PUSHBACK_KEY, RETRY_AFTER_KEY}.isdisjoint(dict(status.trailing_metadata))


@pytest.mark.parametrize(("delay_s", "seconds"), [(0.0, "1"), (0.1, "1"), (1.0, "1"), (1.2, "2"), (60.0, "60")])
def test_http_is_told_whole_seconds_and_never_too_few(delay_s: float, seconds: str) -> None:
    status = status_from_error(Overloaded("Later.", retry_after_s=delay_s), "r-1")
    assert dict(status.trailing_metadata)[RETRY_AFTER_KEY] == seconds


@given(st.lists(st.builds(FieldViolation, field=st.text(max_size=99), description=st.text()), min_size=1, max_size=50))
def test_a_status_fits_into_the_metadata_of_grpc(violations: list[FieldViolation]) -> None:
    error = InvalidField.of(violations)
    error.metadata = {"known_models": "ü" * 9999}
    status = status_from_error(error, "r-1")

    percent_encoded = 3 * len(status.message.encode())
    base64 = len(dict(status.trailing_metadata)[DETAILS_KEY]) * 4 // 3
    assert percent_encoded + base64 < METADATA_LIMIT_BYTES - 512


def test_the_first_of_too_many_violations_are_sent_whole() -> None:
    violations = [FieldViolation(f"sampling_params.stop[{n}]", "Too short.", "INVALID_FIELD") for n in range(1000)]
    again = error_from_rpc(received(status_from_error(InvalidField.of(violations), "r-1")))

    assert isinstance(again, InvalidField)
    assert again.violations == violations[: len(again.violations)]
    assert len(again.violations) > 10


def test_a_long_message_is_cut_between_characters() -> None:
    status = status_from_error(InternalError("€" * 1000), "r-1")
    assert status.message == "€" * (len(status.message) - 1) + "…"


@pytest.mark.parametrize(
    "trailing",
    [
        [],
        [("other", "x")],
        [(DETAILS_KEY, "text")],
        [(DETAILS_KEY, b"\xff\xff")],
        [(DETAILS_KEY, status_pb2.Status(code=14, message="x").SerializeToString())],
    ],
    ids=["nothing", "other metadata", "text", "garbage", "no details"],
)
def test_a_status_of_others_is_not_ours(trailing: list[tuple[str, Any]]) -> None:
    assert error_from_rpc(failure(grpc.StatusCode.UNAVAILABLE, "x", trailing)) is None


@pytest.mark.parametrize(("domain", "reason"), [("example.com", Overloaded.reason), (DOMAIN, "NEWER_THAN_THIS_CLIENT")])
def test_a_reason_that_is_not_in_the_table_is_not_ours(domain: str, reason: str) -> None:
    status = status_pb2.Status(code=8)
    status.details.add().Pack(details_pb.ErrorInfo(domain=domain, reason=reason))
    trailing = [(DETAILS_KEY, status.SerializeToString())]
    assert error_from_rpc(failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "x", trailing)) is None
