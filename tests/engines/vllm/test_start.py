"""Starts that fail before anything of an engine is there, and say why."""

import asyncio
from typing import Any

import pytest

from service.engines.vllm import core
from service.engines.vllm.core import EngineCore, EngineHost
from service.errors import EngineFailed
from service.settings import ModelSettings
from tests.serving import free_port

TWO_RANKS = {"data_parallel_size": 2, "data_parallel_size_local": 1, "data_parallel_address": "127.0.0.1"}


def engine(engine_args: dict[str, Any], timeout_s: float = 0.2) -> EngineCore:
    machines = {"port": free_port(), "timeout_s": timeout_s}
    settings = ModelSettings.model_validate({"path": "a/model", "engine_args": engine_args, "machines": machines})
    return EngineCore(settings, EngineHost(models=1, grace_s=1.0, stall_timeout_s=1.0, longest_hold_s=0.0))


async def test_without_a_machine() -> None:
    with pytest.raises(EngineFailed, match=r"these had not reported: machine 1 \(data-parallel rank 1\)\."):
        await engine(TWO_RANKS).start()


async def test_what_is_waited_for_is_told_until_the_end() -> None:
    waiting = engine(TWO_RANKS, timeout_s=600)
    start = asyncio.create_task(waiting.start())
    async with asyncio.timeout(60):
        while not waiting.waiting_for:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert waiting.waiting_for == ["machine 1 (data-parallel rank 1)"]
    start.cancel()
    await waiting.stop()
    assert not waiting.waiting_for


async def test_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "find_spec", lambda name: None)
    with pytest.raises(EngineFailed, match="Ray is not installed"):
        await engine({"distributed_executor_backend": "ray"}).start()
