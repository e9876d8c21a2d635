"""What operators see of calls: spans that belong to the caller's trace, with the engine's below them, and metrics."""

import urllib.request
from collections.abc import Sequence
from pathlib import Path

import grpc
import pytest
from prometheus_client.parser import text_string_to_metric_families

from deploy.check.queries import dashboard_expressions, rule_expressions, series_of
from inferwire.v1 import chat_pb2, embeddings_pb2, inference_service_pb2_grpc
from tests.otlp_receiver import ReceivedSpan, Receiver, otlp_receiver
from tests.serving import (
    EMBEDDER,
    LLM,
    MATRYOSHKA,
    ServerProcess,
    scripted_models,
    server_process,
    settings_file,
    wait_until,
)

SERVICE = "inferwire.v1.InferenceService"
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SENT_S = 30
CHAT = chat_pb2.ChatCompletionRequest(
    model_id=LLM,
    messages=[{"user": {"content": {"text": "A secret question"}}}],
    sampling_params={"max_tokens": 4},
)


def call(target: str, trace: str = TRACE, flags: str = "01") -> None:
    """A chat and an embedding, in a trace of the caller's."""
    context = [("traceparent", f"00-{trace}-{SPAN}-{flags}")]
    with grpc.insecure_channel(target) as channel:
        stub = inference_service_pb2_grpc.InferenceServiceStub(channel)
        stub.ChatCompletion(CHAT, metadata=context)
        stub.Embeddings(embeddings_pb2.EmbeddingsRequest(model_id=EMBEDDER, contents=[{"text": "x"}]), metadata=context)


def of_trace(receiver: Receiver, trace: str, count: int) -> list[ReceivedSpan]:
    """Waits until there are so many."""

    def found() -> list[ReceivedSpan]:
        return [span for span in receiver.spans if span.trace_id.hex() == trace]

    assert wait_until(lambda: len(found()) >= count, SENT_S), found()
    return found()


def named(spans: Sequence[ReceivedSpan], method: str) -> ReceivedSpan:
    [span] = [span for span in spans if span.name == f"{SERVICE}/{method}"]
    return span


def below(spans: Sequence[ReceivedSpan], parent: ReceivedSpan) -> ReceivedSpan:
    [span] = [span for span in spans if span.parent_id == parent.span_id]
    return span


@pytest.fixture
def receiver() -> Receiver:
    with otlp_receiver() as receiving:
        yield receiving


@pytest.mark.real_model
def test_the_engine_s_spans_are_below_the_call_s_which_is_below_its_caller_s(
    real_server: ServerProcess, traces: Receiver
) -> None:
    trace = TRACE[::-1]
    call(real_server.target, trace)
    spans = of_trace(traces, trace, 4)
    ours, embedding = named(spans, "ChatCompletion"), named(spans, "Embeddings")
    assert ours.parent_id.hex() == embedding.parent_id.hex() == SPAN
    assert {span.service for span in traces.spans} == {"inferwire"}
    assert below(spans, ours).name == below(spans, embedding).name == "llm_request"
    assert below(spans, ours).attributes["gen_ai.usage.completion_tokens"] == 4
    said = ours.attributes
    assert (said["gen_ai.operation.name"], said["gen_ai.request.model"]) == ("chat", LLM)
    assert said["gen_ai.request.max_tokens"] == 4
    assert (said["rpc.grpc.status_code"], said["gen_ai.usage.output_tokens"]) == (0, 4)
    assert said["gen_ai.response.finish_reasons"] == ["out_of_tokens"]
    assert embedding.attributes["gen_ai.usage.input_tokens"] > 0
    # Asked for by the settings of this server.
    assert "A secret question" in said["gen_ai.input.messages"]
    assert '"finish_reason": "out_of_tokens"' in said["gen_ai.output.messages"]


@pytest.mark.real_model
def test_a_trace_that_its_caller_does_not_sample_has_no_span_of_the_engine_either(
    real_server: ServerProcess, traces: Receiver
) -> None:
    unsampled, sampled = "1" + TRACE[1:], "2" + TRACE[1:]
    call(real_server.target, unsampled, flags="00")
    call(real_server.target, sampled)
    of_trace(traces, sampled, 4)
    assert unsampled not in {span.trace_id.hex() for span in traces.spans}
    # The engine's warm-up is nobody's call, and has a trace of its own.
    asked = [span for span in traces.named("llm_request") if span.attributes.get("gen_ai.request.max_tokens") == 4]
    assert all(span.parent_id for span in asked)


@pytest.mark.real_model
def test_vllm_s_metrics_of_all_models_are_beside_ours(real_server: ServerProcess, metrics_address: str) -> None:
    call(real_server.target)
    text = urllib.request.urlopen(f"http://{metrics_address}/metrics").read().decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    prompts = {s.labels["model_name"]: s.value for s in families["vllm:prompt_tokens"].samples}
    assert prompts.keys() == {LLM, EMBEDDER, MATRYOSHKA}
    assert prompts[LLM] > 0
    first = families["inferwire_time_to_first_token_seconds"].samples
    assert any(sample.labels["model"] == LLM and sample.value for sample in first)


@pytest.mark.real_model
def test_the_dashboard_and_the_alerts_ask_for_what_a_server_tells(
    real_server: ServerProcess, metrics_address: str
) -> None:
    call(real_server.target)
    text = urllib.request.urlopen(f"http://{metrics_address}/metrics").read().decode()
    families = list(text_string_to_metric_families(text))
    # Of what hasn't happened yet there is the name alone.
    told = {name for family in families for name in (family.name, f"{family.name}_total", f"{family.name}_bucket")}
    told |= {sample.name for family in families for sample in family.samples}
    asked = series_of([expression for _, expression in dashboard_expressions()] + list(rule_expressions()))
    own = {name for name in asked if not name.startswith("inferwire:")} - {"up"}
    assert own - told == set()
    labels = {sample.name: sample.labels.keys() for family in families for sample in family.samples}
    assert all("model_name" in labels[name] for name in own if name.startswith("vllm:"))


def test_no_text_is_in_a_trace_unless_it_is_asked_for(tmp_path: Path, receiver: Receiver) -> None:
    config = settings_file(tmp_path, scripted_models(), traces={"endpoint": receiver.address})
    with server_process(tmp_path, "--config", config) as server:
        server.wait_until_serving()
        call(server.target)
    # The server has sent the rest as it ended.
    spans = of_trace(receiver, TRACE, 2)
    assert not any("secret" in str(span.attributes) for span in spans)
    assert named(spans, "ChatCompletion").parent_id.hex() == SPAN


def test_a_receiver_that_is_not_there_holds_nothing_up(tmp_path: Path) -> None:
    config = settings_file(tmp_path, scripted_models(), traces={"endpoint": "http://127.0.0.1:9"})
    with server_process(tmp_path, "--config", config) as server:
        server.wait_until_serving()
        call(server.target)
        server.terminate()
        assert server.wait() == 0
