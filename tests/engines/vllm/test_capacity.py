"""What an engine works on at a time: that of all of its data-parallel ranks."""

from types import SimpleNamespace
from typing import Any

import pytest

from service.api.models import ModelType
from service.engines.base import Capacity
from service.engines.vllm.core import STEPS_AHEAD, EngineCore, EngineHost
from service.settings import ModelSettings


def core_of(model_type: ModelType, ranks: int) -> EngineCore:
    """As vLLM leaves its configuration: the blocks of all ranks are added up, the limits are each one's."""
    config: Any = SimpleNamespace(
        scheduler_config=SimpleNamespace(max_num_seqs=256, max_num_batched_tokens=512),
        cache_config=SimpleNamespace(num_gpu_blocks=ranks * 100, block_size=128),
    )
    core = EngineCore(
        ModelSettings(path="a/model", type=model_type),
        EngineHost(models=1, grace_s=1.0, stall_timeout_s=1.0, longest_hold_s=0.0),
    )
    engine: Any = SimpleNamespace(
        vllm_config=config, engine_core=SimpleNamespace(engine_ranks_managed=list(range(ranks)))
    )
    core._engine = engine
    return core


@pytest.mark.parametrize("ranks", [1, 2])
def test_of_a_language_model(ranks: int) -> None:
    assert core_of(ModelType.LLM, ranks).capacity == Capacity(ranks * 256, ranks * 12_800)


@pytest.mark.parametrize("ranks", [1, 2])
def test_of_an_embedding_model(ranks: int) -> None:
    assert core_of(ModelType.EMBEDDING, ranks).capacity == Capacity(ranks * 256, ranks * STEPS_AHEAD * 512)
