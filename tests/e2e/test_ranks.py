"""One model over several processes: it says what one process says, and is one engine when a part of it is lost."""

import asyncio
import signal
from collections.abc import Iterator, Sequence
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from service.api.completion import CompletionRequest
from service.api.sampling import GreedySamplingStrategy, SamplingParams
from service.client import Client
from service.errors import EngineFailed
from tests.e2e.calls import NOT_SERVING, SERVING, chat, settled
from tests.serving import (
    LLM,
    LOAD_S,
    READY_LINE,
    ServerProcess,
    alive,
    bundled_models,
    free_port,
    server_process,
    settings_file,
    wait_until,
)

pytestmark = [pytest.mark.real_model, pytest.mark.timeout(8 * LOAD_S)]

TOLD_S = 30
TOKENS = 16
# What one process writes, of another library: transformers, in float32.
TEXTS = {
    "The capital of France is": " Paris.\n\nThe answer is: 2018-01",
    "Once upon a time": ", the city of Nova Haven was a thriving metropolis, with towering skyscrapers and bustling",
    "Water boils at": " 100°C, which is a perfect Celsius.\n\nThe",
    "The opposite of hot is": " cold.\n\nThe answer is: 1.\n\nThe answer is",
}


def models(**engine_args: Any) -> list[dict[str, Any]]:
    """In float32: sums that are made in parts come out otherwise by a rounding, which bfloat16 shows in the text."""
    args = {"dtype": "float32", "max_model_len": 512, "kv_cache_memory_bytes": 2**27, **engine_args}
    return [bundled_models()[0] | {"engine_args": args, "machines": {"port": free_port()}}]


@contextmanager
def serving(folder: Path, **engine_args: Any) -> Iterator[ServerProcess]:
    with server_process(folder, "--config", settings(folder, **engine_args)) as server:
        wait_until_it_serves(server)
        yield server


def settings(folder: Path, **engine_args: Any) -> str:
    return settings_file(folder, models(**engine_args), engine={"restart_backoff_s": 0.1})


def wait_until_it_serves(server: ServerProcess) -> None:
    """Each process imports for long, and each of the three generations waits for the one before."""
    wait_until(lambda: READY_LINE in server.printed() or server.process.poll() is not None, 3 * LOAD_S)
    server.wait_until_serving()


async def completed(client: Client) -> dict[str, str]:
    sampling = SamplingParams(strategy=GreedySamplingStrategy(), max_tokens=TOKENS, min_tokens=TOKENS)
    requests = [CompletionRequest(model_id=LLM, content=prompt, sampling_params=sampling) for prompt in TEXTS]
    answers = await asyncio.gather(*map(client.complete, requests))
    return {prompt: answer.content for prompt, answer in zip(TEXTS, answers, strict=True)}


def member(server: ServerProcess, title: str) -> psutil.Process:
    [found] = [process for process in server.descendants() if title in " ".join(process.cmdline())]
    return found


async def failure_of_a_stream(client: Client, begun: asyncio.Event) -> Exception:
    try:
        async with aclosing(client.stream_chat(chat(tokens=400))) as events:
            async for _ in events:
                begun.set()
    except Exception as error:
        return error
    raise AssertionError("the stream has ended as if nothing had happened")


async def lose(server: ServerProcess, process: psutil.Process, name: str) -> None:
    """Kills a rank under streams that all ranks work on: each is told, and nothing of it is left."""
    family = server.descendants()
    async with Client(server.target) as client:
        begun = [asyncio.Event() for _ in range(4)]
        streams = [asyncio.create_task(failure_of_a_stream(client, event)) for event in begun]
        await asyncio.gather(*(event.wait() for event in begun))
        process.send_signal(signal.SIGKILL)
        failures = await asyncio.wait_for(asyncio.gather(*streams), TOLD_S)
        assert {type(failure) for failure in failures} == {EngineFailed}, failures
        assert await asyncio.to_thread(wait_until, lambda: f"has lost {name}" in server.logged(), TOLD_S)
        assert await settled(server.target, NOT_SERVING, TOLD_S)
    assert await asyncio.to_thread(wait_until, lambda: not alive(engines(family)), TOLD_S)


def engines(family: Sequence[psutil.Process]) -> list[psutil.Process]:
    return [process for process in family if any("VLLM::" in part for part in command_of(process))]


def command_of(process: psutil.Process) -> Sequence[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return ()


async def test_tensor_parallel(tmp_path: Path) -> None:
    # Its nine heads are a multiple of three.
    with serving(tmp_path, tensor_parallel_size=3) as server:
        async with Client(server.target) as client:
            assert await completed(client) == TEXTS
        await lose(server, member(server, "Worker_TP1"), "Worker_TP1")


@contextmanager
def joined(folder: Path, config: str) -> Iterator[ServerProcess]:
    """Another machine, on this one."""
    folder.mkdir()
    with server_process(folder, "--config", config, "--machine", "1", subcommand="join") as machine:
        yield machine


async def test_data_parallel_on_two_machines(tmp_path: Path) -> None:
    args = {"data_parallel_size": 2, "data_parallel_size_local": 1, "data_parallel_address": "127.0.0.1"}
    config = settings(tmp_path, **args, data_parallel_rpc_port=free_port())
    with server_process(tmp_path, "--config", config) as server:
        missing = "machine 1 (data-parallel rank 1)"
        assert await asyncio.to_thread(wait_until, lambda: f"waits for {missing}" in server.logged(), LOAD_S)
        with joined(tmp_path / "machine-1", config) as machine:
            await asyncio.to_thread(wait_until_it_serves, server)
            async with Client(server.target) as client:
                assert await completed(client) == TEXTS
            await lose(server, member(machine, "EngineCore_DP1"), missing)
            assert await settled(server.target, SERVING, 3 * LOAD_S)
            async with Client(server.target) as client:
                assert await completed(client) == TEXTS
            family = engines([*server.descendants(), *machine.descendants()])
            assert len(family) == 3, family  # two ranks and their coordinator
            server.terminate()
            assert await asyncio.to_thread(server.wait) == 0
            assert await asyncio.to_thread(wait_until, lambda: not alive(family), TOLD_S), alive(family)
            assert machine.process.poll() is None  # ready for the next start


async def test_pipeline_parallel_on_two_machines(tmp_path: Path) -> None:
    args = {"pipeline_parallel_size": 2, "nnodes": 2, "master_addr": "127.0.0.1", "master_port": free_port()}
    config = settings(tmp_path, **args)
    with joined(tmp_path / "machine-1", config) as machine, server_process(tmp_path, "--config", config) as server:
        await asyncio.to_thread(wait_until_it_serves, server)
        async with Client(server.target) as client:
            assert await completed(client) == TEXTS
        family = server.descendants()
        part = engines(machine.descendants())
        assert len(engines(family)) == 2, family  # a worker, and the engine of both
        assert len(part) == 1, part
        server.process.kill()
        server.wait()
        assert await asyncio.to_thread(wait_until, lambda: not alive([*family, *part]), TOLD_S), alive(family)
        assert machine.process.poll() is None
