"""An engine's process ends with the server that started it, however that one ends."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from service.engines.orphan_guard import SERVER_VARIABLE, install

GONE_WITHIN_S = 3
TREE = """
import multiprocessing, os, time
from service.engines.orphan_guard import install

def child():
    install()
    print(os.getpid(), flush=True)
    while True:
        time.sleep(1)

if __name__ == "__main__":
    process = multiprocessing.get_context("spawn").Process(target=child)
    process.start()
    process.join()
"""


@contextmanager
def family(folder: Path, variables: dict[str, str]) -> Iterator[tuple[subprocess.Popen[str], psutil.Process]]:
    """A process and its child, which are gone afterwards in any case."""
    script = folder / "tree.py"
    script.write_text(TREE)
    plain = {name: value for name, value in os.environ.items() if name != SERVER_VARIABLE}
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True, env=plain | variables) as parent:
        assert parent.stdout
        child = psutil.Process(int(parent.stdout.readline()))
        try:
            yield parent, child
        finally:
            parent.kill()
            with suppress(psutil.NoSuchProcess):
                child.kill()


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


def gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=lambda how: how.name)
def test_a_child_ends_with_its_parent(tmp_path: Path, how: signal.Signals) -> None:
    with family(tmp_path, {SERVER_VARIABLE: "1"}) as (parent, child):
        assert not gone(child)
        parent.send_signal(how)
        assert within(GONE_WITHIN_S, lambda: gone(child))


def test_processes_that_no_server_started_are_left_alone(tmp_path: Path) -> None:
    with family(tmp_path, {}) as (parent, child):
        parent.kill()
        parent.wait()
        assert not within(1, lambda: gone(child))


def test_a_process_without_a_parent_of_its_kind_has_no_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SERVER_VARIABLE, "1")
    install()
    assert "orphan-guard" not in {thread.name for thread in threading.enumerate()}
