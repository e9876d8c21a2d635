"""What the tests of the mesh have in common: two servers, Envoy in front of them, and who calls."""

import asyncio
import json
import signal
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import grpc

from inferwire.v1 import inference_service_pb2_grpc
from service.client import Tls
from service.wire.chat import chat_request_to_proto
from tests.e2e.calls import chat
from tests.mesh.proxy import GENERATION, OTHERS, Envoy
from tests.serving import ServerProcess, slow_models, slow_server_process, wait_until

SHOP = "spiffe://cluster.example/ns/shop/sa/checkout"
WEB_TOKEN = "a-token-of-the-web"
CALLER_KEY = "x-inferwire-caller"
IDENTITIES = [
    {"name": "shop", "subjects": ["spiffe://cluster.example/ns/shop/*"]},
    {"name": "web", "token": WEB_TOKEN},
]
# What each server's engine fails for, and how often, before it answers.
FAILS_ONCE, FAILS_ALWAYS = "Try this once.", "Try this ever again."
FAILURES = {FAILS_ONCE: 1, FAILS_ALWAYS: 1_000_000}
STEP_S = 0.02
# A model that takes a call and never says anything, and one that fails at its fourth token.
SILENT, BREAKING = "silent", "breaking"
ODD_MODELS = [
    {"path": "scripted", "id": SILENT, "engine": "scripted", "engine_args": {"step_s": 3600}},
    {"path": "scripted", "id": BREAKING, "engine": "scripted", "engine_args": {"fail_after": 3}},
]
ENDLESS = chat_request_to_proto(chat(tokens=3000))
CHANNEL_OPTIONS = [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]
NOTICED_S = 60  # bounds a wait
HEALTHY = {"eds_health_status": "HEALTHY"}


class Fleet:
    """Two servers that talk to Envoy only, each at an address that it keeps."""

    def __init__(self, folder: Path, settings: dict[str, Any], failures: dict[str, int]) -> None:
        self._folder = folder
        self._settings = settings
        self._models = [*slow_models(STEP_S, embed_s=STEP_S, failures=failures), *ODD_MODELS]
        self._numbers = count()
        self._running = ExitStack()
        self.servers = [self._started(), self._started()]

    def __enter__(self) -> "Fleet":
        for server in self.servers:
            server.wait_until_serving()
        return self

    def __exit__(self, *failure: object) -> None:
        for server in self.servers:
            # Unlike SIGTERM it leaves no time for balancers to notice.
            server.process.send_signal(signal.SIGINT)
        self._running.close()

    def _started(self, address: str = "127.0.0.1:0") -> ServerProcess:
        folder = self._folder / f"server-{next(self._numbers)}"
        folder.mkdir()
        server = {"address": address, "drain_window_s": 5}
        process = slow_server_process(folder, self._models, server=server, log={"json_lines": True}, **self._settings)
        return self._running.enter_context(process)

    def records(self, request_id: str) -> list[dict[str, Any]]:
        """What the servers' logs say of a call, once for each that it was sent to."""
        lines = (line for server in self.servers for line in server.logged().splitlines())
        return [json.loads(line) for line in lines if f'"{request_id}"' in line and '"Call"' in line]

    def replace(self, number: int) -> None:
        """Starts one at the address of a server that has ended."""
        self.servers[number] = self._started(self.servers[number].target)
        self.servers[number].wait_until_serving()


@dataclass(frozen=True, slots=True)
class Mesh:
    """All of it, and the certificates of those who call."""

    fleet: Fleet
    envoy: Envoy
    shop: Tls
    nobody: Tls
    """Trusts Envoy, and has no certificate."""

    def channel(self, tls: Tls | None = None) -> grpc.aio.Channel:
        """A connection of its own, and without retries of its own: those are Envoy's."""
        credentials = (tls or self.shop).credentials()
        return grpc.aio.secure_channel(self.envoy.target, credentials, options=CHANNEL_OPTIONS)

    def wait_until_all_serve(self) -> None:
        """As Envoy sees it."""
        seen = [(server.target, cluster) for server in self.fleet.servers for cluster in (GENERATION, OTHERS)]
        assert wait_until(lambda: all(self.envoy.health(*one) == HEALTHY for one in seen), NOTICED_S)


async def seen(condition: Callable[[], bool]) -> bool:
    """Whether it came true, while calls go on."""
    return await asyncio.to_thread(wait_until, condition, NOTICED_S)


def under_way(mesh: Mesh) -> list[int]:
    """How many calls each server has, the fewest first."""
    return sorted(mesh.envoy.calls_at(server.target) for server in mesh.fleet.servers)


async def connect(mesh: Mesh) -> None:
    """Has Envoy connect to both servers. What waits for a connection isn't counted, so that a burst would follow it."""
    async with mesh.channel() as channel:
        stub = inference_service_pb2_grpc.InferenceServiceStub(channel)  # type: ignore[no-untyped-call]
        calls = []
        for expected in ([0, 1], [1, 1]):
            calls.append(stub.StreamChatCompletion(ENDLESS))
            assert await seen(lambda expected=expected: under_way(mesh) == expected)
        for call in calls:
            call.cancel()
        assert await seen(lambda: under_way(mesh) == [0, 0])
