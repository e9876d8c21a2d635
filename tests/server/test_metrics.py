"""What Prometheus is told: of calls once they are over, of the server as it is, of all engines as one set."""

import asyncio
import urllib.request
from collections.abc import Iterable
from typing import Any

import pytest
from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families

from service.engines.scripted import Reply, ScriptedLanguageEngine
from service.server.metrics import EngineCollector
from service.server.start_errors import AddressInUse
from service.settings import AdmissionSettings, EngineSettings
from tests.server.serving import EMBEDDER, LIMITS, LLM, PATIENCE_S, Running, embedder, language, request, running

HERE = {"metrics": {"address": "127.0.0.1:0"}}
WEATHER = {"tool_name": {"custom": "get_weather"}, "input_schema_json": '{"type": "object"}'}
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


async def scraped(server: Running) -> Samples:
    """As Prometheus does it."""
    assert server.lifecycle.metrics
    accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
    scrape = urllib.request.Request(f"http://{server.lifecycle.metrics.address}/metrics", headers={"Accept": accept})
    text = await asyncio.to_thread(lambda: urllib.request.urlopen(scrape).read().decode())
    families = list(text_string_to_metric_families(text))
    assert len({family.name for family in families}) == len(families), "a family is told twice"
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def value(samples: Samples, name: str, **labels: str) -> float | None:
    return samples.get((f"inferwire_{name}", frozenset(labels.items())))


def chat(**fields: Any) -> Any:
    return request("ChatCompletion", model_id=LLM, messages=[{"user": {"content": {"text": "Hi"}}}], **fields)


async def test_a_call_is_counted_when_it_is_over() -> None:
    async with running(language(Reply("abc")), settings=HERE) as server:
        [answer] = await server.answers("ChatCompletion", chat())
        samples = await scraped(server)
        whose = {"model": LLM, "identity": "anonymous"}
        assert value(samples, "calls_total", method="ChatCompletion", code="OK", **whose) == 1
        assert value(samples, "prompt_tokens_total", **whose) == answer.usage.prompt_tokens
        assert value(samples, "generated_tokens_total", **whose) == answer.usage.completion_tokens
        assert value(samples, "call_duration_seconds_count", method="ChatCompletion", model=LLM) == 1
        for timing in ("queue_duration", "time_to_first_token", "time_per_output_token"):
            assert value(samples, f"{timing}_seconds_count", model=LLM) == 1
        assert not any("created" in name for name, _ in samples)


async def test_embedded_texts_are_counted_as_prompts() -> None:
    async with running(embedder(), settings=HERE) as server:
        asked = request("Embeddings", model_id=EMBEDDER, contents=[{"text": "one"}, {"text": "two"}])
        [answer] = await server.answers("Embeddings", asked)
        samples = await scraped(server)
        counted = value(samples, "prompt_tokens_total", model=EMBEDDER, identity="anonymous")
        assert counted == answer.usage.prompt_tokens > 0
        assert value(samples, "queue_duration_seconds_count", model=EMBEDDER) == 1


async def test_a_refused_call_is_counted_by_its_reason_and_callers_can_add_no_label() -> None:
    async with running(language(), settings=HERE) as server:
        for model in ("of-mine", "another"):
            await server.failure("ChatCompletion", request("ChatCompletion", model_id=model, messages=[]))
        await server.failure("ChatCompletion", request("ChatCompletion", model_id=LLM, messages=[]))
        samples = await scraped(server)
    assert value(samples, "failed_calls_total", method="ChatCompletion", reason="INVALID_FIELD") == 3
    assert {dict(labels).get("model", "") for _, labels in samples} == {"", LLM}


async def test_outcomes_of_constraints_and_verdicts_of_calls_are_counted() -> None:
    said = iter([Reply('{"a": 1}'), Reply('{"name": "get_weather", "parameters": {}}')])
    async with running(ScriptedLanguageEngine(LLM, LIMITS, lambda _: next(said)), settings=HERE) as server:
        shape = {"json_schema": {"json_schema": '{"type": "object"}'}}
        await server.answers("ChatCompletion", chat(response_format=shape))
        await server.answers("ChatCompletion", chat(tools=[WEATHER]))
        samples = await scraped(server)
        assert value(samples, "constrained_answers_total", model=LLM, outcome="satisfied") == 1
        assert value(samples, "tool_calls_total", model=LLM, verdict="complete") == 1
        # An alert sees the first one only as an increase.
        assert value(samples, "constrained_answers_total", model=LLM, outcome="violated") == 0
        assert value(samples, "tool_calls_total", model=LLM, verdict="malformed") == 0


async def test_gauges_tell_of_the_moment() -> None:
    admission = AdmissionSettings(max_running_requests=2)
    async with running(language(Reply("word " * 1000, step_s=0.01)), admission=admission, settings=HERE) as server:
        under_way = [server.call("ChatCompletion", chat()) for _ in range(5)]
        await asyncio.sleep(0.3)
        busy = await scraped(server)
        for call in under_way:
            call.cancel()
        await asyncio.sleep(0.3)
        idle = await scraped(server)
    for samples, running_requests, queued in ((busy, 2, 3), (idle, 0, 0)):
        assert value(samples, "running_requests", model=LLM) == running_requests
        assert value(samples, "queued_requests", model=LLM) == queued
        assert value(samples, "calls_in_flight") == running_requests + queued
        assert value(samples, "engine_up", model=LLM) == 1
        assert value(samples, "utilization_ratio", model=LLM) == (running_requests + queued) / 2
        assert value(samples, "running_requests_limit", model=LLM) == 2
        assert value(samples, "queued_requests_limit", model=LLM) == admission.max_queued_requests
        assert value(samples, "engine_failures_total", model=LLM) == 0
    cancelled = {"method": "ChatCompletion", "code": "CANCELLED", "model": LLM, "identity": "anonymous"}
    assert value(idle, "calls_total", **cancelled) == 5


async def test_a_dead_engine_and_a_drain_are_seen() -> None:
    engine = language(Reply("word " * 100, step_s=0.01))
    async with running(engine, settings=HERE, drain_window_s=5) as server:
        server.stop()
        await asyncio.sleep(0.1)
        samples = await scraped(server)
        assert (value(samples, "draining"), value(samples, "drain_overdue_seconds")) == (1, 0)
        engine.die()
        assert value(await scraped(server), "engine_up", model=LLM) == 0


async def test_a_failure_of_an_engine_is_counted_while_it_is_brought_back() -> None:
    engine = language()
    async with running(engine, settings=HERE, engine=EngineSettings(restart_backoff_s=0)) as server:
        engine.die()
        async with asyncio.timeout(PATIENCE_S):
            for name in ("engine_failures_total", "engine_up"):
                while value(await scraped(server), name, model=LLM) != 1:
                    pass


async def test_without_an_address_nothing_listens() -> None:
    async with running(language()) as server:
        assert server.lifecycle.metrics is None


async def test_an_address_in_use_is_a_start_error() -> None:
    async with running(language(), settings=HERE) as server:
        assert server.lifecycle.metrics
        taken = {"metrics": {"address": server.lifecycle.metrics.address}}
        with pytest.raises(AddressInUse, match="Can't serve metrics on"):
            async with running(language(), settings=taken):
                pass


class Counting(ScriptedLanguageEngine):
    """Has metrics as vLLM's are: the same families for each engine."""

    def own_metrics(self) -> Iterable[Metric]:
        family = CounterMetricFamily("vllm:steps", "Steps.", labels=["model_name"])
        family.add_metric([self.identifier], 1)
        return [family]


async def test_the_engines_metrics_keep_their_names() -> None:
    async with running(Counting(LLM, LIMITS), settings=HERE) as server:
        assert (await scraped(server))[("vllm:steps_total", frozenset({("model_name", LLM)}))] == 1


def test_what_several_engines_count_is_one_set() -> None:
    engines = [Counting(name, LIMITS) for name in ("a", "b")]
    [family] = EngineCollector(engines).collect()
    assert [sample.labels for sample in family.samples] == [{"model_name": "a"}, {"model_name": "b"}]
