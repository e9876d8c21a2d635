"""Processes that belong together: which of them has ended is told by name, and they are ended together."""

import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from service.engines.processes import TITLE, Family
from tests.serving import alive, wait_until

WAIT_S = 30
# Calls itself what vLLM's processes do, and has a child that does so, and one that doesn't.
PARENT = """
import subprocess, sys, time
from setproctitle import setproctitle
child = "import time; from setproctitle import setproctitle; setproctitle('VLLM::Worker_TP1'); time.sleep(600)"
subprocess.Popen([sys.executable, "-c", child])
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
setproctitle("VLLM::EngineCore")
time.sleep(600)
"""


@pytest.fixture
def head() -> Iterator[psutil.Process]:
    started = subprocess.Popen([sys.executable, "-c", PARENT])
    process = psutil.Process(started.pid)
    members = [process]
    try:
        assert wait_until(lambda: titles(process) >= {"VLLM::Worker_TP1", "VLLM::EngineCore"}, WAIT_S)
        members += process.children()
        yield process
    finally:
        for member in alive(members):
            member.kill()
        started.wait()


def title(process: psutil.Process) -> str:
    return " ".join(process.cmdline()).strip()


def titles(process: psutil.Process) -> set[str]:
    return {title(member) for member in [process, *process.children()]}


def child_of(process: psutil.Process, *, ours: bool) -> psutil.Process:
    [found] = [child for child in process.children() if title(child).startswith(TITLE) is ours]
    return found


def test_a_lost_worker_is_named(head: psutil.Process) -> None:
    family = Family([head])
    assert not family.lost()
    worker = child_of(head, ours=True)
    worker.kill()
    assert wait_until(lambda: not alive([worker]), WAIT_S)
    assert family.lost() == ["Worker_TP1"]


def test_helpers_of_a_library_may_end(head: psutil.Process) -> None:
    family = Family([head])
    helper = child_of(head, ours=False)
    helper.kill()
    assert wait_until(lambda: not alive([helper]), WAIT_S)
    assert not family.lost()


def test_all_are_ended_together_and_none_is_then_lost(head: psutil.Process) -> None:
    family = Family([head])
    members = [head, *head.children()]
    family.kill()
    assert wait_until(lambda: not alive(members), WAIT_S)
    assert not family.lost()


def test_nobody_is_lost_of_nobody() -> None:
    assert not Family([])
    assert not Family([]).lost()
