"""The dashboard and the alerts ask for what a server exports, and the check of it notices when they don't."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.check import monitoring, queries
from deploy.check.manifests import CHART, Manifests, rendered_chart
from deploy.monitoring import grafana
from deploy.monitoring.panels import Shape, expressions
from service.telemetry.metrics import TIMES_S

GPU = CHART.parent / "examples" / "gpu-tls.yaml"


def test_dashboard_and_alerts_are_right() -> None:
    assert list(monitoring.problems()) == []


def test_they_ask_for_what_there_is() -> None:
    assert list(queries.problems()) == []


@pytest.mark.parametrize(("rule", "other"), [("14.4 * 0.01", "14.4 * 0.05"), ("up == 0 and", "up == and")])
def test_prometheus_own_tool_tries_the_rules(rule: str, other: str, tmp_path: Path) -> None:
    if reason := monitoring.skipped():
        pytest.skip(reason)
    text, tests = queries.ALERTS.read_text(), monitoring.RULE_TESTS.read_text()
    assert rule in text
    (alerts := tmp_path / "alerts.yaml").write_text(text.replace(rule, other))
    (tried := tmp_path / "alerts_test.yaml").write_text(tests.replace("../helm/inferwire/monitoring/", ""))
    assert list(monitoring.rule_problems(alerts, tried))


def test_a_missing_tool_is_a_problem_where_it_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv(monitoring.REQUIRED, raising=False)
    assert monitoring.skipped() == monitoring.NO_PROMTOOL
    monkeypatch.setenv(monitoring.REQUIRED, "1")
    assert monitoring.NO_PROMTOOL in list(monitoring.problems())


def test_the_target_of_the_first_token_is_a_bucket() -> None:
    assert 'le="2.5"' in queries.ALERTS.read_text()
    assert 2.5 in TIMES_S


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("sum(inferwire_calls_totl)", "there is no metric inferwire_calls_totl"),
        ('sum(inferwire_calls_total{modle="x"})', "inferwire_calls_total has no label modle"),
        ("sum by (identiy) (inferwire_calls_total)", "nothing has the label identiy"),
        ("up * on (hostname) inferwire_draining", "nothing has the label hostname"),
        ("rate(inferwire_calls_total[5m]", "can't be parsed"),
        ("rate(inferwire_call_duration_seconds[5m])", "there is no metric inferwire_call_duration_seconds"),
        ("sum by (le, model) (rate(inferwire_call_duration_seconds_bucket[5m]))", ""),
        ('up{job="x"} == 0', ""),
    ],
)
def test_a_wrong_query_is_told(expression: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    panel = {"title": "Calls", "targets": [{"expr": expression}]}
    (file := tmp_path / "dashboard.json").write_text(json.dumps({"panels": [panel]}))
    monkeypatch.setattr(queries, "DASHBOARD", file)
    found = "\n".join(queries.problems())
    assert f"dashboard, Calls: {expected}" in found if expected else not found


def changed_rules(change: Callable[[Any], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What is told of rules that are changed; promtool is left out."""
    rules = yaml.safe_load(queries.ALERTS.read_text())
    change(rules["groups"][1]["rules"][0])
    (file := tmp_path / "alerts.yaml").write_text(yaml.safe_dump(rules))
    for module in (monitoring, queries):
        monkeypatch.setattr(module, "ALERTS", file)
    monkeypatch.setenv("PATH", "")
    return "\n".join([*monitoring.problems(), *queries.problems()])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda rule: rule.update(expr="up == 0 and inferwire_drains"), "there is no metric inferwire_drains"),
        (lambda rule: rule.update(alert="Surprise"), "RUNBOOK.md doesn't say what to do about Surprise"),
        (lambda rule: rule.update(alert="Surprise"), "RUNBOOK.md: there is no alert InferwireUnreachable"),
        (lambda rule: rule["annotations"].pop("description"), "InferwireUnreachable: it has no description"),
        (lambda rule: rule.update(labels={"severity": "nice"}), "InferwireUnreachable: its severity is none of"),
    ],
)
def test_a_wrong_alert_is_told(
    change: Callable[[Any], object], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert expected in changed_rules(change, tmp_path, monkeypatch)


def test_an_old_dashboard_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (file := tmp_path / "dashboard.json").write_text(grafana.as_json().replace("Calls by method", "Calls"))
    monkeypatch.setattr(monitoring, "DASHBOARD", file)
    assert any("doesn't fit deploy/monitoring" in problem for problem in monitoring.problems())


def test_the_dashboard_has_all_panels_where_grafana_looks_for_them() -> None:
    board = json.loads(queries.DASHBOARD.read_text())
    panels = [panel for panel in board["panels"] if panel["type"] != "row"]
    assert [target["expr"] for panel in panels for target in panel["targets"]] == expressions()
    assert {panel["type"] for panel in panels} == {"stat", "timeseries", "heatmap"}
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert {variable["name"] for variable in board["templating"]["list"]} == {"datasource", "job", "instance", "model"}
    assert len(Shape) == 4


SCALERS: dict[str, tuple[Callable[[Manifests], object], str]] = {
    "by KEDA": (
        lambda m: trigger(m).update(query="sum(inferwire_queue)"),
        "ScaledObject inferwire: there is no metric inferwire_queue",
    ),
    "by KEDA, of a label": (
        lambda m: trigger(m).update(query='sum(inferwire_queued_requests{team="x"})'),
        "ScaledObject inferwire: inferwire_queued_requests has no label team",
    ),
}


def trigger(manifests: Manifests) -> Any:
    return next(manifests.of_kind("ScaledObject"))["spec"]["triggers"][0]["metadata"]


@pytest.mark.parametrize("name", SCALERS)
def test_scaling_by_what_nobody_counts_is_told(name: str) -> None:
    change, expected = SCALERS[name]
    rendered = rendered_chart(GPU)
    assert list(queries.scaler_problems(rendered)) == []
    change(rendered)
    assert expected in list(queries.scaler_problems(rendered))


def test_an_adapter_finds_what_pods_are_scaled_by(tmp_path: Path) -> None:
    values = yaml.safe_load(GPU.read_text())
    values["autoscaling"]["by"] = "metrics"
    (file := tmp_path / "values.yaml").write_text(yaml.safe_dump(values))
    rendered = rendered_chart(file)
    [scaler] = rendered.of_kind("HorizontalPodAutoscaler")
    assert list(queries.scaler_problems(rendered)) == []
    scaler["spec"]["metrics"][1]["pods"]["metric"]["name"] = "inferwire_tokens_per_second"
    [problem] = queries.scaler_problems(rendered)
    assert problem == "HorizontalPodAutoscaler inferwire: there is no metric inferwire_tokens_per_second"


def test_the_chart_has_the_files_as_they_are() -> None:
    rendered = rendered_chart(GPU)
    [rule] = rendered.of_kind("PrometheusRule")
    assert rule["spec"] == yaml.safe_load(queries.ALERTS.read_text())
    board = rendered.find("ConfigMap", "inferwire-dashboard")
    assert board
    assert json.loads(board["data"]["inferwire.json"]) == json.loads(queries.DASHBOARD.read_text())
