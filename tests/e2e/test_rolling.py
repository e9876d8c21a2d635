"""Two servers behind a client that balances, replaced one after the other: no call fails.

The client asks for health, as balancers do, and so leaves a server within its drain window. One that doesn't learns of
the end when the connection is told to go away, and what it sends in that moment is CANCELLED by gRPC's core
(https://github.com/grpc/grpc/issues/41785).
"""

import asyncio
import json
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import grpc
import pytest

from service.client import Client
from tests.e2e.steady_calls import Callers
from tests.serving import LOAD_S, ServerProcess, slow_models, slow_server_process, wait_until

CALLS, AT_ONCE, STEP_S = 500, 8, 0.02
WINDOW_S = 5
BALANCED = {"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""}}
CHANNEL_OPTIONS = (
    ("grpc.service_config", json.dumps(BALANCED)),
    ("grpc.enable_retries", 0),
    # Else it looks for the new server only after as long as the start took, about.
    ("grpc.max_reconnect_backoff_ms", 1000),
)

pytestmark = pytest.mark.timeout(4 * LOAD_S)


class Fleet:
    """Two servers, each at an address that it keeps."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = count()
        self._running = ExitStack()
        self.all: list[ServerProcess] = []

    def __enter__(self) -> "Fleet":
        return self

    def __exit__(self, *failure: object) -> None:
        self._running.close()

    def start(self, address: str = "127.0.0.1:0") -> ServerProcess:
        folder = self._folder / str(next(self._numbers))
        folder.mkdir()
        models = slow_models(STEP_S, embed_s=STEP_S)
        started = slow_server_process(folder, models, server={"address": address, "drain_window_s": WINDOW_S})
        server = self._running.enter_context(started)
        self.all.append(server)
        return server

    def roll(self, server: ServerProcess) -> None:
        """Ends it amid its calls, and starts the one that takes its place."""
        wait_for_calls(server)
        address = server.target
        server.terminate()
        assert server.wait() == 0
        successor = self.start(address)
        successor.wait_until_serving()
        wait_for_calls(successor)


def served_by(server: ServerProcess) -> int:
    """How many calls, by its log."""
    return server.logged().count(" INFO Call ")


def wait_for_calls(server: ServerProcess) -> None:
    assert wait_until(lambda: served_by(server) >= AT_ONCE, LOAD_S)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with Fleet(tmp_path) as fleet:
        for server in [fleet.start(), fleet.start()]:
            server.wait_until_serving()
        yield fleet


async def test_500_calls_while_both_are_replaced(fleet: Fleet) -> None:
    first, second = fleet.all
    target = f"ipv4:{first.target},{second.target}"
    async with grpc.aio.insecure_channel(target, options=CHANNEL_OPTIONS) as channel:
        callers = Callers(Client.over(channel), at_least=CALLS)
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(callers.work())
            for server in (first, second):
                await asyncio.to_thread(fleet.roll, server)
            callers.over = True
    shares = [served_by(server) for server in fleet.all]
    print(f"{callers.calls} calls, of which {shares} by each server")
    assert callers.failures == []
    assert callers.calls >= CALLS
    # Each call reached one server, and that only once.
    assert sum(shares) == callers.calls
    assert min(shares) > 0
