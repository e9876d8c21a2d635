"""What goes into a call's span, and what its engine is told of the trace."""

import json
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from service.telemetry import calls, traces
from service.telemetry.calls import call_span
from service.telemetry.traces import describe_request, record_answer, trace_headers

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(calls, "TRACER", provider.get_tracer("test"))
    monkeypatch.setattr(traces, "get_tracer_provider", lambda: provider)
    yield exporter
    provider.shutdown()


def told_to_the_engine(flags: str) -> str:
    with call_span("/service/Method", {"traceparent": f"00-{TRACE}-{SPAN}-{flags}"}):
        headers = trace_headers()
    assert headers
    return headers["traceparent"]


def test_the_engine_s_spans_go_below_the_call_s(spans: InMemorySpanExporter) -> None:
    told = told_to_the_engine("01")
    [span] = spans.get_finished_spans()
    assert span.context
    assert told == f"00-{TRACE}-{span.context.span_id:016x}-01"


def test_the_engine_hears_of_a_trace_that_is_not_sampled(spans: InMemorySpanExporter) -> None:
    """Told nothing, it would begin one of its own."""
    told = told_to_the_engine("00")
    assert told.startswith(f"00-{TRACE}-")
    assert told.endswith("-00")
    assert spans.get_finished_spans() == ()


def test_without_traces_the_engine_hears_of_none() -> None:
    with call_span("/service/Method", {"traceparent": f"00-{TRACE}-{SPAN}-01"}):
        assert trace_headers() is None


def test_a_span_says_how_the_answer_is_sampled_and_what_it_is(spans: InMemorySpanExporter) -> None:
    with call_span("/service/Method", {}):
        describe_request(max_tokens=4, temperature=0.0, seed=None)
        record_answer("Paris", "end_of_turn")
    [span] = spans.get_finished_spans()
    assert span.attributes
    said = dict(span.attributes)
    [message] = json.loads(str(said.pop("gen_ai.output.messages")))
    assert said == {"gen_ai.request.max_tokens": 4, "gen_ai.request.temperature": 0.0}
    assert (message["role"], message["finish_reason"]) == ("assistant", "end_of_turn")
    assert message["parts"] == [{"type": "text", "content": "Paris"}]
