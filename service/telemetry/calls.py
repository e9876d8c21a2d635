"""The call that is being served: who it is, when it came, what it has cost so far.

Set once per call by the interceptor, and read by servicers and by the log. A call's work runs in its own task, so
calls never see each other.
"""

import re
import time
import uuid
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field

from opentelemetry.trace import format_span_id, format_trace_id, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

REQUEST_ID_KEY = "x-request-id"
# What a log line can hold without harm.
REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")


@dataclass(slots=True)
class Call:
    """One call. The token counts grow while it runs, so that every exit can report them."""

    method: str
    request_id: str
    trace_id: str = ""
    span_id: str = ""
    arrived: float = field(default_factory=time.monotonic)
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0

    def elapsed_s(self) -> float:
        return time.monotonic() - self.arrived


_current: ContextVar[Call | None] = ContextVar("call", default=None)


def begin_call(method: str, metadata: Mapping[str, str]) -> Call:
    """The call's identity, from what the caller sent: its own request id and W3C trace context, if any."""
    given = metadata.get(REQUEST_ID_KEY, "")
    request_id = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
    trace_id, span_id = _trace_ids(metadata)
    call = Call(method, request_id, trace_id, span_id)
    _current.set(call)
    return call


def current_call() -> Call:
    call = _current.get()
    if call is None:
        raise LookupError("No call is being served here.")
    return call


def current_request_id() -> str | None:
    call = _current.get()
    return call.request_id if call else None


def _trace_ids(metadata: Mapping[str, str]) -> tuple[str, str]:
    span = get_current_span(TraceContextTextMapPropagator().extract(metadata)).get_span_context()
    return (format_trace_id(span.trace_id), format_span_id(span.span_id)) if span.is_valid else ("", "")
