"""All that was looked at, for people and for programs."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, TypeAlias

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from service.cli.diagnosis.addresses import check_addresses
from service.cli.diagnosis.certificates import check_callers, check_certificates
from service.cli.diagnosis.finding import Finding, Level
from service.cli.diagnosis.hardware import check_hardware
from service.cli.diagnosis.images import check_images
from service.cli.diagnosis.models import check_models
from service.cli.diagnosis.versions import check_versions
from service.settings import Settings

Report: TypeAlias = Mapping[str, Sequence[Finding]]

CHECKS: Mapping[str, Callable[[Settings], Iterable[Finding]]] = {
    "versions": check_versions,
    "hardware": check_hardware,
    "models": check_models,
    "certificates": check_certificates,
    "callers": check_callers,
    "addresses": check_addresses,
    "images": check_images,
}
MARKS = {Level.OK: ("✔", "green"), Level.WARNING: ("!", "yellow"), Level.PROBLEM: ("✘", "red")}


def count(report: Report, level: Level) -> int:
    return sum(finding.level is level for findings in report.values() for finding in findings)


def verdict(report: Report) -> str:
    problems = count(report, Level.PROBLEM)
    if problems:
        return f"{problems} problem{'' if problems == 1 else 's'} would stop a start."
    warnings = count(report, Level.WARNING)
    seen = f" {warnings} thing{'' if warnings == 1 else 's'} to think about." if warnings else ""
    return f"Nothing found that would stop a start.{seen}"


def as_json(report: Report) -> dict[str, Any]:
    findings = [{"area": area, **asdict(finding)} for area, found in report.items() for finding in found]
    return {"would_start": not count(report, Level.PROBLEM), "findings": findings}


def as_lines(report: Report) -> list[str]:
    """One a finding, for logs."""
    lines = [_line(area, finding) for area, findings in report.items() for finding in findings]
    return [*lines, verdict(report)]


def _line(area: str, finding: Finding) -> str:
    advice = f" -> {finding.advice}" if finding.advice else ""
    return f"{finding.level:<8}{area}: {finding.subject}: {finding.told}{advice}"


def as_tables(report: Report) -> RenderableType:
    style = "red" if count(report, Level.PROBLEM) else "green"
    return Group(
        *(_table(area, findings) for area, findings in report.items() if findings), Text(verdict(report), style)
    )


def _table(area: str, findings: Sequence[Finding]) -> Table:
    table = Table(title=area, title_justify="left", title_style="bold", box=None, show_header=False, padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, min_width=18)
    table.add_column(overflow="fold")
    for finding in findings:
        told = Text(finding.told)
        if finding.advice:
            told.append(f"\n{finding.advice}", "bold")
        table.add_row(Text(*MARKS[finding.level]), Text(finding.subject), told)
    return table
