"""What a server holds, seen from outside: memory, files, threads, and calls by its own count."""

from collections.abc import Sequence
from dataclasses import dataclass

import grpc
import psutil

from inferwire.v1 import admin_service_pb2, admin_service_pb2_grpc

MIB = 1024 * 1024


@dataclass(frozen=True)
class Sample:
    at_s: float
    memory_mib: float
    files: int
    threads: int
    engines_mib: float
    """All processes that the server has started."""


def sample(pid: int, at_s: float) -> Sample:
    process = psutil.Process(pid)
    return Sample(
        at_s=at_s,
        memory_mib=process.memory_info().rss / MIB,
        files=process.num_fds(),
        threads=process.num_threads(),
        engines_mib=sum(map(_memory, process.children(recursive=True))) / MIB,
    )


def _memory(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:  # it has just ended
        return 0


@dataclass(frozen=True)
class Load:
    """By the server's own count."""

    calls: int
    running: int
    waiting: int

    @property
    def none(self) -> bool:
        return not (self.calls or self.running or self.waiting)


async def load_of(channel: grpc.aio.Channel) -> Load:
    stub = admin_service_pb2_grpc.AdminServiceStub(channel)  # type: ignore[no-untyped-call]
    answer = await stub.GetLoad(admin_service_pb2.GetLoadRequest(), timeout=60)
    models = answer.models
    return Load(
        answer.in_flight_calls,
        sum(model.running_requests for model in models),
        sum(model.waiting_requests for model in models),
    )


ROWS: Sequence[tuple[str, str]] = (
    ("Memory of the server, MiB", "memory_mib"),
    ("Open files", "files"),
    ("Threads", "threads"),
    ("Memory of the engines, MiB", "engines_mib"),
)
