"""The call that is being served: whose it is, when it came, what it has cost so far.

Set once per call by the interceptor, and read by servicers and by the log. A call's work runs in its own task, so
calls never see each other.
"""

import json
import re
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from opentelemetry.trace import (
    Span,
    SpanKind,
    format_span_id,
    format_trace_id,
    get_current_span,
    get_tracer,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

TRACER = get_tracer("inferwire")
PROPAGATOR = TraceContextTextMapPropagator()
ANONYMOUS = "anonymous"
REQUEST_ID_KEY = "x-request-id"
# What a log line can hold without harm.
REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")


@dataclass(slots=True)
class TokenTally:
    """The tokens of all calls of one model so far."""

    prompt: int = 0
    generated: int = 0


@dataclass(slots=True)
class Call:
    """One call. The counts grow while it runs, so that every exit can report them."""

    method: str
    request_id: str
    trace_id: str = ""
    span_id: str = ""
    identity: str = ANONYMOUS
    """Who calls."""
    models: Sequence[str] = ("*",)
    """The models that the caller may use; wildcards as in file names."""
    deadline: float | None = None
    """When the caller stops waiting, on the clock of `arrived`."""
    arrived: float = field(default_factory=time.monotonic)
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    tokenized_tokens: int = 0
    """Of the prompt's, those that were only tokenised: no engine is given them."""
    reasoning_tokens: int = 0
    """Of those of the completion."""
    neutralized_spans: int = 0
    """Places where the caller's text spells a control token, and is read as text."""
    model: str = ""
    """The one that is asked, once it is known to exist and to be the caller's to use."""
    tally: TokenTally = field(default_factory=TokenTally)
    """That model's, which counts along."""
    queued_s: float | None = None
    """From arrival to a place in the engine."""
    first_token_s: float | None = None
    """From arrival to the first token."""
    stop_reason: str = ""
    constraint_outcome: str = ""
    tool_verdicts: list[str] = field(default_factory=list)
    records_texts: bool = False
    """Whether the operator wants prompts and answers in traces."""
    tool_metadata: list[Mapping[str, Any]] = field(default_factory=list)
    """What tools told about their answers, for the log record of the call; never for the model."""

    _endings: list[Callable[[], None]] = field(default_factory=list)

    def at_end(self, action: Callable[[], None]) -> None:
        """Runs it when the call has ended, in whatever way."""
        self._endings.append(action)

    def end(self) -> None:
        while self._endings:
            self._endings.pop()()

    def note_tool_metadata(self, call_id: str, tool_name: str, metadata: Mapping[str, Any]) -> None:
        """Puts it on the call's span, too."""
        self.tool_metadata.append({"call_id": call_id, "tool_name": tool_name, "metadata": metadata})
        attributes = {"call_id": call_id, "tool_name": tool_name, "metadata": json.dumps(metadata, ensure_ascii=False)}
        get_current_span().add_event("tool_response", attributes)

    def count_prompt(self, tokens: int) -> None:
        """Tokens that the engine is given."""
        self.prompt_tokens += tokens
        self.tally.prompt += tokens

    def count_tokenized(self, tokens: int) -> None:
        """Tokens that no engine is given."""
        self.prompt_tokens += tokens
        self.tokenized_tokens += tokens

    def count_completion(self, tokens: int) -> None:
        self.completion_tokens += tokens
        self.tally.generated += tokens

    def count_reasoning(self, tokens: int) -> None:
        """Tokens of the completion that are thoughts."""
        self.reasoning_tokens += tokens
        self.count_completion(tokens)

    def may_use(self, model_id: str) -> bool:
        """Whether the caller may know of a model, and use it."""
        return any(fnmatchcase(model_id, pattern) for pattern in self.models)

    def elapsed_s(self) -> float:
        return time.monotonic() - self.arrived

    def remaining_s(self) -> float | None:
        """Until the deadline, if there is one."""
        return None if self.deadline is None else self.deadline - time.monotonic()


_current: ContextVar[Call | None] = ContextVar("call", default=None)


def call_span(method: str, metadata: Mapping[str, str]) -> AbstractContextManager[Span]:
    """The span of a call, below the one whose W3C trace context the caller sent; nothing until traces are set up."""
    return TRACER.start_as_current_span(
        method.removeprefix("/"),
        context=PROPAGATOR.extract(metadata),
        kind=SpanKind.SERVER,
        record_exception=False,
        set_status_on_exception=False,
    )


def begin_call(method: str, metadata: Mapping[str, str], left_s: float | None = None) -> Call:
    """A call with its request id, from the caller or made here, its place in a trace, its deadline."""
    given = metadata.get(REQUEST_ID_KEY, "")
    request_id = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
    trace_id, span_id = _trace_ids(metadata)
    call = Call(method, request_id, trace_id, span_id)
    call.deadline = None if left_s is None else call.arrived + left_s
    _current.set(call)
    return call


def current_call() -> Call:
    call = _current.get()
    if call is None:
        raise LookupError("No call is being served here.")
    return call


def current_ids() -> tuple[str, str]:
    """The ids of the request and of its trace, each empty where there is none."""
    call = _current.get()
    return (call.request_id, call.trace_id) if call else ("", "")


def _trace_ids(metadata: Mapping[str, str]) -> tuple[str, str]:
    span = get_current_span().get_span_context()
    if not span.is_valid:
        span = get_current_span(PROPAGATOR.extract(metadata)).get_span_context()
    return (format_trace_id(span.trace_id), format_span_id(span.span_id)) if span.is_valid else ("", "")
