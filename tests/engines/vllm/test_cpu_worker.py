"""Seeds and prompts that are computed in pieces."""

import torch
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.utils.import_utils import resolve_obj_by_qualname
from vllm.v1.worker.gpu_model_runner import GPUModelRunner

from service.engines.vllm.cpu_worker import CpuWorker, restarted
from service.engines.vllm.defaults import CPU_WORKER


def drawn(generator: torch.Generator) -> int:
    return int(torch.randint(2**31, (1,), generator=generator).item())


def test_the_worker_is_found_by_its_name() -> None:
    assert resolve_obj_by_qualname(CPU_WORKER) is CpuWorker
    assert hasattr(AsyncEngineArgs, "worker_cls")


def test_what_is_mended_exists() -> None:
    assert hasattr(GPUModelRunner, "_bookkeeping_sync")


def test_numbers_drawn_for_a_piece_of_a_prompt_are_drawn_again() -> None:
    generators = {index: torch.Generator().manual_seed(7) for index in range(3)}
    first = [drawn(generator) for generator in generators.values()]
    with restarted(generators, [1, 5]):
        assert set(generators) == {0, 2}
    assert set(generators) == {0, 1, 2}
    second = [drawn(generators[index]) for index in range(3)]
    assert second[1] == first[1]
    assert second[0] == second[2] != first[0]
