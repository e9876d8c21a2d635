"""The processes that an engine has started, also before all of it is there: vLLM shows them only afterwards."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psutil
from vllm.v1.engine import core_client

from service.engines.processes import Family

_thread = threading.local()
_launch_core_engines = core_client.launch_core_engines


class Launch:
    """One start of an engine."""

    def __init__(self) -> None:
        self._started: Any = None
        self._unwanted = False

    @contextmanager
    def here(self) -> Iterator[None]:
        """Inside, what this thread starts belongs to it."""
        _thread.launch = self
        try:
            yield
        finally:
            del _thread.launch

    def give_up(self) -> None:
        """Ends its processes, those that are still to come included: with them the thread comes to its end."""
        self._unwanted = True
        if self._started:
            Family(heads_of(self._started)).kill()

    def take(self, started: Any) -> None:
        self._started = started
        if self._unwanted:
            self.give_up()


def heads_of(resources: Any) -> list[psutil.Process]:
    """One for each data-parallel rank on this machine, and their coordinator. What Ray started is Ray's to watch."""
    processes = [*getattr(resources.engine_manager, "processes", ())]
    if resources.coordinator is not None:
        processes.append(resources.coordinator.proc)
    found = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            found.append(psutil.Process(process.pid))
    return found


@contextmanager
def _noted(*args: Any, **kwargs: Any) -> Iterator[Any]:
    with _launch_core_engines(*args, **kwargs) as started:
        if launch := getattr(_thread, "launch", None):
            launch.take(started)
        yield started


core_client.launch_core_engines = _noted
