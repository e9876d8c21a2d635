"""What is asked of Prometheus: does it parse, and is there such a metric, with such labels?

The dashboard, the alert rules and the chart's autoscaling ask. What the server exports is told by its own collectors;
vLLM's own metrics are compared with those of a running server, in tests/e2e/test_observability.py.
"""

import asyncio
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache

import promql_parser
import yaml
from prometheus_client import CollectorRegistry, ProcessCollector

from deploy.check.manifests import CHART, Manifests, label_of
from deploy.monitoring.panels import INTERVAL
from service.api.response_format import ConstraintOutcome
from service.api.tools import ToolCallVerdict
from service.engines.registry import Registry
from service.engines.scripted import ScriptedLanguageEngine
from service.server.drain import Drain, DrainTimes
from service.server.interceptors import InFlight
from service.server.metrics import StateCollector
from service.settings import LimitSettings
from service.telemetry.calls import Call
from service.telemetry.metrics import CallMetrics, EngineMetrics, ImageMetrics

DASHBOARD = CHART / "monitoring" / "dashboard.json"
ALERTS = CHART / "monitoring" / "alerts.yaml"
ENGINE_PREFIX = "vllm:"
# Prometheus', of the targets that it scrapes.
TARGET_LABELS = {"job", "instance", "namespace", "pod", "service"}
TARGET_METRICS = {"up": set[str]()}

Labels = dict[str, set[str]]
"""Of series, by their names."""


@dataclass(slots=True)
class Query:
    """What an expression asks for: series with the labels that choose among them, and the labels that it joins by."""

    matched: list[tuple[str, set[str]]] = field(default_factory=list)
    grouped: set[str] = field(default_factory=set)

    def note(self, node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            self.matched.append((node.name or "", {matcher.name for matcher in node.matchers.matchers}))
        elif isinstance(node, promql_parser.MatrixSelector):
            self.note(node.vector_selector)
        elif isinstance(node, promql_parser.AggregateExpr) and node.modifier:
            self.grouped |= set(node.modifier.labels)
        elif isinstance(node, promql_parser.BinaryExpr) and node.modifier and node.modifier.matching:
            self.grouped |= set(node.modifier.matching.labels)


def problems() -> Iterator[str]:
    """Of the dashboard and of the rules."""
    rules = list(_rules())
    recorded = {rule["record"]: {"namespace", "job", "model"} for rule in rules if "record" in rule}
    known = exported() | recorded
    for title, expression in dashboard_expressions():
        yield from (f"dashboard, {title}: {problem}" for problem in _problems_of(expression, known))
    for rule in rules:
        name = rule.get("alert") or rule["record"]
        yield from (f"alerts.yaml, {name}: {problem}" for problem in _problems_of(rule["expr"], known))


def scaler_problems(manifests: Manifests) -> Iterator[str]:
    """Of what pods are scaled by."""
    for scaler in manifests.of_kind("ScaledObject"):
        for expression in (trigger["metadata"]["query"] for trigger in scaler["spec"]["triggers"]):
            yield from (f"{label_of(scaler)}: {problem}" for problem in _problems_of(expression, exported()))
    for scaler in manifests.of_kind("HorizontalPodAutoscaler"):
        for metric in (metric["pods"]["metric"]["name"] for metric in scaler["spec"]["metrics"] if "pods" in metric):
            # An adapter names a counter's rate so.
            if metric.replace("_per_second", "_total") not in exported():
                yield f"{label_of(scaler)}: there is no metric {metric}"


def dashboard_expressions() -> Iterator[tuple[str, str]]:
    """With the titles of their panels."""
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]


def rule_expressions() -> Iterator[str]:
    return (rule["expr"] for rule in _rules())


def series_of(expressions: Iterable[str]) -> set[str]:
    """The names of all series that are asked for."""
    return {name for expression in expressions for name, _ in query_of(expression).matched}


def _rules() -> Iterator[dict[str, str]]:
    for group in yaml.safe_load(ALERTS.read_text())["groups"]:
        yield from group["rules"]


def query_of(expression: str) -> Query:
    """Raises ValueError."""
    query = Query()
    promql_parser.walk(promql_parser.parse(expression.replace(INTERVAL, "1m")), query.note)
    return query


def _problems_of(expression: str, known: Labels) -> Iterator[str]:
    try:
        query = query_of(expression)
    except ValueError as error:
        yield f"can't be parsed: {error}"
        return
    there = set(TARGET_LABELS)
    for name, labels in query.matched:
        if name.startswith(ENGINE_PREFIX):
            there |= {"model_name", "engine", "le"}
        elif name in known:
            there |= known[name]
            yield from (f"{name} has no label {label}" for label in sorted(labels - known[name] - TARGET_LABELS))
        else:
            yield f"there is no metric {name}"
    yield from (f"nothing has the label {label}" for label in sorted(query.grouped - there))


@cache
def exported() -> Labels:
    """What a server tells of a call about which there is everything to tell."""
    registry = CollectorRegistry()
    engine = ScriptedLanguageEngine("llm", LimitSettings())
    asyncio.run(engine.start())
    registry.register(StateCollector(Registry([engine]), [engine], InFlight(), Drain(DrainTimes(0, 0))))
    ProcessCollector(registry=registry)
    EngineMetrics(registry, [engine.identifier])
    ImageMetrics(registry)
    CallMetrics(registry).record(_eventful_call(), "INTERNAL", "INTERNAL")
    samples = [sample for family in registry.collect() for sample in family.samples]
    return TARGET_METRICS | {sample.name: set(sample.labels) for sample in samples}


def _eventful_call() -> Call:
    return Call(
        method="/service/Method",
        request_id="1",
        model="llm",
        prompt_tokens=2,
        tokenized_tokens=1,
        cached_tokens=1,
        completion_tokens=2,
        reasoning_tokens=1,
        neutralized_spans=1,
        queued_s=0.0,
        first_token_s=0.0,
        constraint_outcome=ConstraintOutcome.SATISFIED,
        tool_verdicts=[ToolCallVerdict.COMPLETE],
    )
