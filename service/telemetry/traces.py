"""Traces: where spans go, and what a call's span says, in OpenTelemetry's terms for gRPC and for generative AI."""

import json
import os
from collections.abc import Callable, Iterator
from typing import Any

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.environment_variables import OTEL_SERVICE_NAME
from opentelemetry.sdk.resources import SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Status, StatusCode, get_current_span, get_tracer_provider, set_tracer_provider

from service.telemetry.calls import PROPAGATOR, Call

PROVIDER = "inferwire"
FLUSH_MS = 2000
"""So long may a server that ends wait for whoever takes its spans."""
OPERATIONS = {"ChatCompletion": "chat", "Completion": "text_completion", "Embeddings": "embeddings"}
# What the server is to blame for; all else is its caller's, by OpenTelemetry's rules for servers.
FAULTS = {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}


def send_traces(endpoint: str, version: str) -> Callable[[], None]:
    """Sends spans to an OTLP receiver over gRPC from now on, in the background. Returns what ends it."""
    # In the environment, for the processes of engines to say the same.
    os.environ.setdefault(OTEL_SERVICE_NAME, PROVIDER)
    provider = TracerProvider(resource=Resource.create({SERVICE_VERSION: version}), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    set_tracer_provider(provider)

    def end() -> None:
        provider.force_flush(FLUSH_MS)
        provider.shutdown()

    return end


def trace_headers() -> dict[str, str] | None:
    """The W3C trace context of the call that is being served, for the engine's own spans; None without traces.

    Of a call that isn't sampled, too: told nothing, the engine would begin a trace of its own.
    """
    if not isinstance(get_tracer_provider(), TracerProvider):
        return None
    headers: dict[str, str] = {}
    PROPAGATOR.inject(headers)
    return headers


def describe(call: Call, code: str, number: int, reason: str) -> None:
    """Says of the call's span all that is known at its end: its gRPC status, and `reason` if it has failed."""
    span = get_current_span()
    if not span.is_recording():
        return
    span.set_attributes(dict(_attributes(call, number)))
    if reason:
        span.set_attribute("error.type", reason)
    if code in FAULTS:
        span.set_status(Status(StatusCode.ERROR))


def _attributes(call: Call, status: int) -> Iterator[tuple[str, Any]]:
    service, method = call.method.removeprefix("/").split("/")
    yield from (("rpc.system", "grpc"), ("rpc.service", service), ("rpc.method", method))
    yield "rpc.grpc.status_code", status
    yield from (("inferwire.request_id", call.request_id), ("enduser.id", call.identity))
    if not (operation := OPERATIONS.get(method.removeprefix("Stream"))):
        return
    yield from (("gen_ai.operation.name", operation), ("gen_ai.provider.name", PROVIDER))
    yield from (("gen_ai.request.model", call.model), ("gen_ai.response.model", call.model))
    yield "gen_ai.response.id", call.request_id
    yield "gen_ai.usage.input_tokens", call.prompt_tokens
    yield "gen_ai.usage.cache_read.input_tokens", call.cached_tokens
    if operation != "embeddings":
        yield "gen_ai.usage.output_tokens", call.completion_tokens
    if call.reasoning_tokens:
        yield "gen_ai.usage.reasoning.output_tokens", call.reasoning_tokens
    if call.stop_reason:
        yield "gen_ai.response.finish_reasons", [call.stop_reason]
    if call.constraint_outcome:
        yield "inferwire.constraint_outcome", call.constraint_outcome
    if call.tool_verdicts:
        yield "inferwire.tool_verdicts", call.tool_verdicts


def describe_request(**parameters: float | None) -> None:
    """Says of the call's span how the answer is sampled, in the words of `gen_ai.request`; None goes without saying."""
    span = get_current_span()
    if span.is_recording():
        span.set_attributes(
            {f"gen_ai.request.{name}": value for name, value in parameters.items() if value is not None}
        )


def record_prompt(text: str) -> None:
    """Puts what the model reads on the call's span. Only for operators who have asked for it."""
    _record("gen_ai.input.messages", "user", text)


def record_answer(text: str, stop_reason: str) -> None:
    """Puts what the model wrote on the call's span. Only for operators who have asked for it."""
    _record("gen_ai.output.messages", "assistant", text, finish_reason=stop_reason)


def _record(name: str, role: str, text: str, **more: str) -> None:
    message = {"role": role, "parts": [{"type": "text", "content": text}], **more}
    get_current_span().set_attribute(name, json.dumps([message], ensure_ascii=False))
