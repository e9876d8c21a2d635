"""However a server ends: calls under way are finished where they can be, and nothing of it is left."""

import asyncio
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service.api.events import Complete, Progress
from service.client import Client
from tests.e2e.calls import NOT_SERVING, SERVING, chat, completion, health_of
from tests.serving import LOAD_S, ServerProcess, alive, bundled_models, server_process, settings_file, wait_until

pytestmark = pytest.mark.real_model

LEFT_S = 20
GRACE_S = 240  # on a busy machine a few tokens take their time
TOKENS = 150


@pytest.fixture
def server(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[ServerProcess]:
    """With both models, or as many as the test asks for: each takes long to load."""
    models = bundled_models()[: getattr(request, "param", None)]
    config = settings_file(tmp_path, models, server={"grace_s": GRACE_S})
    with server_process(tmp_path, "--config", config) as server:
        server.wait_until_serving()
        yield server


only_the_llm = pytest.mark.parametrize("server", [1], indirect=True, ids=["llm"])


async def stream_through(client: Client, begun: asyncio.Event) -> Complete:
    """Reads a long stream to its end, and says when it has begun."""
    pieces = 0
    async with aclosing(client.stream_chat(chat(tokens=TOKENS))) as events:
        async for event in events:
            match event:
                case Progress():
                    pieces += 1
                    begun.set()
                case Complete():
                    assert pieces > 1
                    return event
    raise AssertionError("the stream has no end")


def nothing_left(processes: list) -> bool:  # type: ignore[type-arg]
    return wait_until(lambda: not alive(processes), LEFT_S)


async def test_sigterm_finishes_what_is_under_way(server: ServerProcess) -> None:
    family = server.descendants()
    assert len(server.engine_processes()) == 2
    begun = asyncio.Event()
    async with Client(server.target) as client, grpc.aio.insecure_channel(server.target) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == SERVING
        under_way = asyncio.create_task(stream_through(client, begun))
        unary = asyncio.create_task(client.complete(completion(tokens=TOKENS)))
        await begun.wait()
        server.terminate()
        assert (await watch.read()).status == NOT_SERVING
        assert not under_way.done()
        assert (await under_way).usage.completion_tokens == TOKENS
        assert (await unary).usage.completion_tokens == TOKENS
        # The one who watches doesn't hold the server up until its grace is over.
        assert await asyncio.to_thread(server.wait) == 0
    assert nothing_left(family)
    assert "Traceback" not in server.logged()


@only_the_llm
async def test_ctrl_c_reaches_the_engines_too_and_yet_finishes_what_is_under_way(server: ServerProcess) -> None:
    family = server.descendants()
    begun = asyncio.Event()
    async with Client(server.target) as client:
        under_way = asyncio.create_task(stream_through(client, begun))
        await begun.wait()
        os.killpg(server.pid, signal.SIGINT)
        assert (await under_way).usage.completion_tokens == TOKENS
        assert await asyncio.to_thread(server.wait) == 0
    assert nothing_left(family)


@only_the_llm
async def test_a_killed_server_leaves_nothing_behind(server: ServerProcess) -> None:
    family = server.descendants()
    async with Client(server.target) as client, aclosing(client.stream_chat(chat(tokens=4000))) as events:
        await anext(events)
        server.process.kill()
        server.wait()
        assert nothing_left(family), alive(family)
        with pytest.raises(grpc.aio.AioRpcError):
            _ = [event async for event in events]


async def test_sigterm_while_loading_ends_it_at_once(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    config = settings_file(tmp_path, bundled_models(), server={"address": address})
    with server_process(tmp_path, "--config", config) as server:
        assert await asyncio.to_thread(wait_until, lambda: len(server.engine_processes()) == 2, LOAD_S)
        family = server.descendants()
        assert await health_of(address) == NOT_SERVING
        server.terminate()
        assert await asyncio.to_thread(server.wait, 20) == 0
        assert nothing_left(family), alive(family)
        assert "Traceback" not in server.printed()
