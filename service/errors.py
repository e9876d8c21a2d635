"""Why a call can fail: one class per reason that a caller can meet.

    InferwireError
    ├── RequestError                  the caller has to change the request; names fields
    │   ├── MalformedMessage          not protobuf, or text that isn't UTF-8
    │   ├── InvalidField              missing, out of range, contradicting
    │   ├── UnknownField              newer than this server
    │   ├── InvalidConstraint         a schema, grammar or expression that can't be enforced
    │   ├── ContextLengthExceeded     longer than the model takes
    │   ├── MessageTooLarge           larger than the server takes
    │   ├── UnsupportedByModel        this model can't
    │   └── FeatureNotImplemented     this build can't
    ├── ModelNotFound, WrongModelType, ModelNotReady
    ├── ModelExists, ModelNotLoadable, ModelNotRemovable
    ├── Overloaded, QuotaExceeded, DeadlineExceeded
    ├── EngineFailed, Draining, AbortedByServer
    ├── Unauthenticated, PermissionDenied
    └── InternalError                 our defect

Messages are full sentences for the caller and hold nothing that only the operator should see. `wire/status.py` turns
an error into a gRPC status; nothing else does.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import ClassVar, Self


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """What is wrong with one field; `field` is its path in the request, such as `messages[3].user.content`.

    `reason` is that of the error which tells of it.
    """

    field: str
    description: str
    reason: str = ""


class InferwireError(Exception):
    """A failure that the caller is told about."""

    reason: ClassVar[str]
    """The name of a value of the contract's ErrorReason, without its prefix."""

    def __init__(
        self, message: str, *, metadata: Mapping[str, str] | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.metadata = dict(metadata or {})
        self.retry_after_s = retry_after_s


class RequestError(InferwireError):
    """A request that can't be honoured as it is; retrying it unchanged is of no use."""

    def __init__(self, field: str, description: str, *, metadata: Mapping[str, str] | None = None) -> None:
        self.violations: Sequence[FieldViolation] = [FieldViolation(field, description, self.reason)]
        super().__init__(self._sentence(), metadata=metadata)

    @classmethod
    def of(cls, violations: Sequence[FieldViolation]) -> Self:
        """Several violations as one error; those without a reason get this one's."""
        error = cls(violations[0].field, violations[0].description)
        error.violations = [replace(v, reason=v.reason or cls.reason) for v in violations]
        error.message = error._sentence()
        return error

    def under(self, path: str) -> Self:
        """The same error, seen from the message that holds the field `path`."""
        self.violations = [replace(v, field=join_path(path, v.field)) for v in self.violations]
        self.message = self._sentence()
        return self

    def _sentence(self) -> str:
        return "; ".join(f"{v.field}: {v.description}" if v.field else v.description for v in self.violations)

    def __str__(self) -> str:
        return self.message


class Findings:
    """Collects what is wrong with a request, so that its caller learns all of it at once."""

    def __init__(self) -> None:
        self.errors: list[RequestError] = []

    @property
    def violations(self) -> list[FieldViolation]:
        return [violation for error in self.errors for violation in error.violations]

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Notes a RequestError that is raised inside."""
        try:
            yield
        except RequestError as error:
            self.errors.append(error)

    def raise_all(self) -> None:
        """Raises what was found as one error, of the first one's kind."""
        if len(self.errors) == 1:
            raise self.errors[0]
        if self.errors:
            raise type(self.errors[0]).of(self.violations)


def join_path(parent: str, child: str) -> str:
    """Joins two field paths: `a` and `b` to `a.b`, `a` and `[0]` to `a[0]`."""
    if not parent or not child:
        return parent or child
    return parent + child if child.startswith("[") else f"{parent}.{child}"


class MalformedMessage(RequestError):
    reason = "MALFORMED_MESSAGE"


class InvalidField(RequestError):
    reason = "INVALID_FIELD"


class UnknownField(RequestError):
    reason = "UNKNOWN_FIELD"


class InvalidConstraint(RequestError):
    reason = "INVALID_CONSTRAINT"


class ContextLengthExceeded(RequestError):
    reason = "CONTEXT_LENGTH_EXCEEDED"


class MessageTooLarge(RequestError):
    reason = "MESSAGE_TOO_LARGE"


def too_many_tokens(field: str, tokens: int | None, limit: int) -> MessageTooLarge:
    """To tokenise. `tokens` is None for so many that they were not counted."""
    shown = f"more than {limit}" if tokens is None else str(tokens)
    counted = {} if tokens is None else {"tokens": str(tokens)}
    return MessageTooLarge(
        field, f"It has {shown} tokens; the limit is {limit}.", metadata={"limit": str(limit), **counted}
    )


class UnsupportedByModel(RequestError):
    reason = "UNSUPPORTED_BY_MODEL"


class FeatureNotImplemented(RequestError):
    reason = "NOT_IMPLEMENTED"


class ModelNotFound(InferwireError):
    reason = "MODEL_NOT_FOUND"


class WrongModelType(InferwireError):
    reason = "WRONG_MODEL_TYPE"


class ModelNotReady(InferwireError):
    reason = "MODEL_NOT_READY"


class ModelExists(InferwireError):
    reason = "MODEL_EXISTS"


class ModelNotLoadable(InferwireError):
    reason = "MODEL_NOT_LOADABLE"


class ModelNotRemovable(InferwireError):
    reason = "MODEL_NOT_REMOVABLE"


class Overloaded(InferwireError):
    reason = "OVERLOADED"


class QuotaExceeded(InferwireError):
    reason = "QUOTA_EXCEEDED"


class DeadlineExceeded(InferwireError):
    reason = "DEADLINE_EXCEEDED"


class EngineFailed(InferwireError):
    reason = "ENGINE_FAILED"


class Draining(InferwireError):
    reason = "DRAINING"


class AbortedByServer(InferwireError):
    reason = "ABORTED_BY_SERVER"


class Unauthenticated(InferwireError):
    reason = "UNAUTHENTICATED"


class PermissionDenied(InferwireError):
    reason = "PERMISSION_DENIED"


class InternalError(InferwireError):
    reason = "INTERNAL"
