"""The processes of an engine on this machine: one for each data-parallel rank, their workers, and a coordinator."""

from collections.abc import Iterable, Sequence
from contextlib import suppress

import psutil

TITLE = "VLLM::"
"""What vLLM's own processes call themselves, before their part: `VLLM::Worker_TP1`."""


class Family:
    """Those of a loaded engine. None is of use without the others, and vLLM itself watches over some of them only."""

    def __init__(self, heads: Iterable[psutil.Process]) -> None:
        self._names: dict[psutil.Process, str] = {}
        self._all: list[psutil.Process] = []
        for process in heads:
            self._names[process] = _title(process)
            descendants = _descendants(process)
            self._all += [process, *descendants]
            self._names |= {p: title for p in descendants if (title := _title(p)).startswith(TITLE)}

    def __bool__(self) -> bool:
        return bool(self._all)

    def lost(self) -> Sequence[str]:
        """The names of those that have ended by themselves."""
        return [name.removeprefix(TITLE) for process, name in self._names.items() if not _runs(process)]

    def kill(self) -> None:
        self._names.clear()
        for process in self._all:
            with suppress(psutil.NoSuchProcess):
                process.kill()


def _descendants(process: psutil.Process) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return list(process.children(recursive=True))
    return []


def _title(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return " ".join(process.cmdline()).strip()[:80]
    return str(process.pid)


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running()) and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
