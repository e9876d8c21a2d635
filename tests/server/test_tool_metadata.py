"""What a tool tells besides its answer reaches the log and the trace of the call, and never the model."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from inferwire.v1 import chat_pb2
from service.engines.scripted import Reply, ScriptedLanguageEngine
from service.telemetry import calls
from service.telemetry.logs import LOGGER, configure_logs
from tests.server.serving import LLM, Running

SECRET = "doc-4711"
CALLED = {
    "assistant": {
        "content": {"text": ""},
        "tool_calls": [{"call_id": "c1", "tool_name": {"custom": "search"}, "arguments_json": '{"q": "x"}'}],
    }
}


def asked(*answers: dict[str, object]) -> chat_pb2.ChatCompletionRequest:
    return chat_pb2.ChatCompletionRequest(
        model_id=LLM, messages=[{"user": {"content": {"text": "Where?"}}}, CALLED, *answers]
    )


def answer(**metadata: object) -> dict[str, object]:
    return {
        "tool_response": {
            "call_id": "c1",
            "tool_name": {"custom": "search"},
            "content": {"text": "In Paris."},
            **metadata,
        }
    }


WITH_METADATA = answer(metadata={"document_ids": [SECRET, "doc-2"], "took_s": 0.5})


@pytest.fixture
def records() -> Iterator[io.StringIO]:
    logger = logging.getLogger(LOGGER)
    before = logger.handlers, logger.level, logger.propagate
    stream = io.StringIO()
    configure_logs("info", True, stream)
    yield stream
    logger.handlers, logger.level, logger.propagate = before


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(calls, "TRACER", provider.get_tracer("test"))
    return exporter


async def test_the_model_reads_the_answer_without_the_metadata(server: Running, llm: ScriptedLanguageEngine) -> None:
    prompts: list[str] = []

    def script(prompt: str) -> Reply:
        prompts.append(prompt)
        return Reply("Hi.")

    llm.script = script
    plain = {"tool": {"call_id": "c1", "content": {"text": "In Paris."}}}
    for given in (WITH_METADATA, answer(), answer(metadata={}), plain):
        await server.answers("ChatCompletion", asked(given))
    assert "In Paris." in prompts[0]
    assert SECRET not in prompts[0]
    assert prompts == [prompts[0]] * 4


@pytest.mark.parametrize(
    ("given", "logged"),
    [
        (WITH_METADATA, {"document_ids": [SECRET, "doc-2"], "took_s": 0.5}),
        (answer(metadata={}), {}),
        (answer(), None),
    ],
    ids=["metadata", "empty", "absent"],
)
async def test_the_log_record_of_the_call_holds_the_metadata(
    server: Running, records: io.StringIO, given: dict[str, object], logged: object
) -> None:
    await server.answers("ChatCompletion", asked(given), x_request_id="mine")
    (record,) = [json.loads(line) for line in records.getvalue().splitlines()]
    assert (record["message"], record["request_id"], record["code"]) == ("Call", "mine", "OK")
    assert record["method"] == "/inferwire.v1.InferenceService/ChatCompletion"
    assert record["completion_tokens"] > 0
    assert record["neutralized_spans"] == 0
    expected = [] if logged is None else [{"call_id": "c1", "tool_name": "search", "metadata": logged}]
    assert record.get("tool_metadata", []) == expected


async def test_the_trace_of_the_call_holds_the_metadata(server: Running, spans: InMemorySpanExporter) -> None:
    trace, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    await server.answers("StreamChatCompletion", asked(WITH_METADATA), traceparent=f"00-{trace}-{parent}-01")
    (span,) = spans.get_finished_spans()
    assert span.name == "inferwire.v1.InferenceService/StreamChatCompletion"
    assert span.context
    assert f"{span.context.trace_id:032x}" == trace
    assert span.parent
    assert f"{span.parent.span_id:016x}" == parent
    (event,) = span.events
    assert event.attributes
    assert (event.name, event.attributes["tool_name"]) == ("tool_response", "search")
    assert json.loads(str(event.attributes["metadata"])) == {"document_ids": [SECRET, "doc-2"], "took_s": 0.5}


async def test_a_call_that_fails_is_recorded_too(server: Running, records: io.StringIO) -> None:
    await server.failure("ChatCompletion", chat_pb2.ChatCompletionRequest(model_id="x", messages=asked().messages))
    (record,) = [json.loads(line) for line in records.getvalue().splitlines()]
    assert (record["message"], record["code"], record["completion_tokens"]) == ("Call", "NOT_FOUND", 0)
