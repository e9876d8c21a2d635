"""The soak itself: that it runs, and sees what it is there to see."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from tests.benchmarks.soak import Findings, Plan, Server, problems, report, scripted_process, soak
from tests.benchmarks.soak_calls import KINDS
from tests.benchmarks.soak_samples import Load, Sample

AT_REST = Sample(at_s=1.0, memory_mib=500.0, files=20, threads=10, engines_mib=900.0)
NO_LOAD = Load(calls=0, running=0, waiting=0)


def ended(last: Sample = AT_REST, load: Load = NO_LOAD) -> Findings:
    return Findings(rests=[AT_REST, AT_REST, last], load=load)


async def test_a_short_soak_of_scripted_engines_explains_itself(tmp_path: Path) -> None:
    findings = Findings()
    with scripted_process(tmp_path) as server:
        await asyncio.to_thread(server.wait_until_serving)
        plan = Plan(duration_s=6, at_once=8, rest_s=1, longest_rest_s=10)
        await soak(Server(server.target, server.pid), plan, findings)
    assert findings.unexplained == []
    assert findings.load == NO_LOAD
    assert len(findings.rests) == 3
    assert findings.outcomes.total() > 0
    shown = report(findings)
    assert all(f"| {name} | " in shown for name, _ in findings.outcomes)


def test_nothing_is_wrong_with_a_server_that_stays_as_it_was() -> None:
    assert problems(ended()) == []
    assert problems(ended(replace(AT_REST, memory_mib=509.0, files=19, threads=9))) == []


@pytest.mark.parametrize(
    ("findings", "problem"),
    [
        (ended(replace(AT_REST, memory_mib=511.0)), "the server's memory grew by 2.2%"),
        (ended(replace(AT_REST, files=21)), "21 files are open, 20 were"),
        (ended(replace(AT_REST, threads=11)), "there are 11 threads, there were 10"),
        (ended(load=Load(calls=0, running=1, waiting=0)), "still counts Load(calls=0, running=1, waiting=0)"),
    ],
    ids=["memory", "files", "threads", "load"],
)
def test_what_a_server_keeps_is_told(findings: Findings, problem: str) -> None:
    [told] = problems(findings)
    assert problem in told


def test_an_outcome_that_is_not_of_the_kind_is_told_and_counted() -> None:
    findings, kind = ended(), KINDS[0]
    findings.note(kind, "OK", "")
    findings.note(kind, "INTERNAL", "The server failed.")
    assert problems(findings) == [f"{kind.name}: INTERNAL: The server failed."]
    assert f"| {kind.name} | 2 | 1 | 1 | 1 OK, 1 INTERNAL |" in report(findings)


def test_one_that_was_ended_early_tells_of_what_there_is() -> None:
    findings = Findings(rests=[AT_REST])
    findings.note(KINDS[0], "OK", "")
    assert problems(findings) == []
    assert "| Threads | 10 |" in report(findings)
