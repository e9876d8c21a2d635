"""An engine that is killed or stands still: everybody is told in time, and it comes back."""

import asyncio
import signal
import time
from collections.abc import Iterator
from contextlib import aclosing

import grpc
import psutil
import pytest

from service.client import Client
from service.errors import EngineFailed
from tests.e2e.calls import NOT_SERVING, SERVING, asked_once, chat, completion, settled
from tests.serving import ServerProcess, alive, bundled_models, server_process, settings_file, wait_until

pytestmark = pytest.mark.real_model

STREAMS = 32
TOLD_S = 20  # on a machine with nothing else to do it takes less than one second
STALL_S = 3.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("server")
    engine = {"stall_timeout_s": STALL_S, "restart_backoff_s": 0.1}
    with server_process(folder, "--config", settings_file(folder, bundled_models()[:1], engine=engine)) as server:
        server.wait_until_serving()
        yield server


def engine_of(server: ServerProcess) -> psutil.Process:
    [process] = server.engine_processes()
    return process


async def pieces(client: Client, begun: asyncio.Semaphore) -> Exception:
    """Streams until it fails, and returns the failure."""
    try:
        async with aclosing(client.stream_chat(chat(tokens=4000))) as events:
            await anext(events)
            begun.release()
            async for _ in events:
                pass
    except Exception as error:
        return error
    raise AssertionError("the stream has ended as if nothing had happened")


async def begun_streams(client: Client) -> list["asyncio.Task[Exception]"]:
    begun = asyncio.Semaphore(0)
    tasks = [asyncio.create_task(pieces(client, begun)) for _ in range(STREAMS)]
    for _ in range(STREAMS):
        await begun.acquire()
    return tasks


@pytest.mark.parametrize(("number", "silence_s"), [(signal.SIGKILL, 0.0), (signal.SIGSTOP, STALL_S)], ids=str)
async def test_every_stream_is_told_and_the_engine_comes_back(
    server: ServerProcess, number: signal.Signals, silence_s: float
) -> None:
    engine = engine_of(server)
    async with Client(server.target) as client:
        streams = await begun_streams(client)
        engine.send_signal(number)
        begun_s = time.monotonic()
        failures = await asyncio.wait_for(asyncio.gather(*streams), silence_s + TOLD_S)
        print(f"all streams were told after {time.monotonic() - begun_s:.2f} s")
        assert {type(failure) for failure in failures} == {EngineFailed}, failures
        assert all(failure.retry_after_s for failure in failures)  # type: ignore[attr-defined]
        assert await settled(server.target, NOT_SERVING, TOLD_S)
        print(f"health said so after {time.monotonic() - begun_s:.2f} s")
        assert await asked_once(server.target) is grpc.StatusCode.UNAVAILABLE
        assert await settled(server.target, SERVING)
        print(f"it was back after {time.monotonic() - begun_s:.2f} s")
        assert (await client.complete(completion())).usage.completion_tokens == 8
    assert await asyncio.to_thread(wait_until, lambda: not alive([engine]), TOLD_S)
