"""The dashboard is what deploy/monitoring says, and each alert tells what is wrong and what to do about it."""

import re
from collections.abc import Iterator
from os import environ
from pathlib import Path
from shutil import which

import yaml

from deploy.check.programs import ProgramFailed, run
from deploy.check.queries import ALERTS, DASHBOARD
from deploy.check.values import REWRITE
from deploy.monitoring import grafana

RUNBOOK = ALERTS.parents[3] / "monitoring" / "RUNBOOK.md"
RULE_TESTS = RUNBOOK.with_name("alerts_test.yaml")
SEVERITIES = {"page", "ticket"}
# Set where every check has to run, as in CI.
REQUIRED = "INFERWIRE_REQUIRE_TOOLCHAINS"
NO_PROMTOOL = "promtool isn't here (Debian: prometheus)"


def problems() -> Iterator[str]:
    if DASHBOARD.read_text() != grafana.as_json():
        yield f"monitoring/dashboard.json doesn't fit deploy/monitoring: {REWRITE}"
    alerts = [
        rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"] if "alert" in rule
    ]
    for alert in alerts:
        yield from (f"{alert['alert']}: {problem}" for problem in _unsaid(alert))
    yield from _runbook({alert["alert"] for alert in alerts})
    if not skipped():
        yield from rule_problems()


def _unsaid(alert: dict[str, dict[str, str]]) -> Iterator[str]:
    if alert.get("labels", {}).get("severity") not in SEVERITIES:
        yield f"its severity is none of {', '.join(sorted(SEVERITIES))}"
    for annotation in ("summary", "description"):
        if not alert.get("annotations", {}).get(annotation):
            yield f"it has no {annotation}"


def _runbook(alerts: set[str]) -> Iterator[str]:
    told = set(re.findall(r"^## (\w+)$", RUNBOOK.read_text(), re.MULTILINE))
    for alert in sorted(alerts - told):
        yield f"RUNBOOK.md doesn't say what to do about {alert}"
    for heading in sorted(told - alerts):
        yield f"RUNBOOK.md: there is no alert {heading}"


def skipped() -> str:
    """Why the rules aren't tested by Prometheus' own tool; empty where they are."""
    return "" if which("promtool") or environ.get(REQUIRED) == "1" else NO_PROMTOOL


def rule_problems(alerts: Path = ALERTS, tests: Path = RULE_TESTS) -> Iterator[str]:
    """By Prometheus' own tool."""
    try:
        run("promtool", "check", "rules", alerts)
        run("promtool", "test", "rules", tests)
    except FileNotFoundError:
        yield NO_PROMTOOL
    except ProgramFailed as failed:
        yield f"alerts.yaml: {failed}"


def generate() -> None:
    DASHBOARD.write_text(grafana.as_json())
