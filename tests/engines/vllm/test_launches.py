"""The processes of a start that is given up end, whether they are there already or not."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from vllm.v1.engine import core_client

from service.engines.vllm import launches
from tests.serving import alive, wait_until

WAIT_S = 30


@pytest.fixture
def process() -> Iterator[psutil.Process]:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as started:
        yield psutil.Process(started.pid)
        started.kill()


@pytest.fixture(autouse=True)
def launching(process: psutil.Process, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands in for vLLM's."""

    @contextmanager
    def launch() -> Iterator[Any]:
        yield SimpleNamespace(engine_manager=SimpleNamespace(processes=[process]), coordinator=None)

    monkeypatch.setattr(launches, "_launch_core_engines", launch)


def ended(process: psutil.Process) -> bool:
    return wait_until(lambda: not alive([process]), WAIT_S)


def test_what_has_started(process: psutil.Process) -> None:
    launch = launches.Launch()
    with launch.here(), core_client.launch_core_engines():
        assert alive([process])
        launch.give_up()
        assert ended(process)


def test_what_starts_afterwards(process: psutil.Process) -> None:
    launch = launches.Launch()
    launch.give_up()
    with launch.here(), core_client.launch_core_engines():
        assert ended(process)


def test_what_others_start_is_none_of_its(process: psutil.Process) -> None:
    launch = launches.Launch()
    with launch.here():
        pass
    with core_client.launch_core_engines():
        launch.give_up()
        assert alive([process])
