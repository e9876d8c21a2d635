"""Why one place more than there are adapters is kept on a CPU: see engines.vllm.defaults."""

import torch
from vllm.lora.ops.torch_ops import bgmv_expand, bgmv_shrink

WITHOUT_ADAPTER = torch.tensor([-1])


def changed_by(last_place: float) -> float:
    """What a request without an adapter is changed by, beside others that have one."""
    down, up = torch.ones(3, 1, 4, 8), torch.ones(3, 1, 8, 4)
    down[-1] = up[-1] = last_place
    inner, output = torch.zeros(1, 4), torch.zeros(1, 8)
    bgmv_shrink(torch.ones(1, 8), down, inner, WITHOUT_ADAPTER)
    bgmv_expand(inner, up, output, WITHOUT_ADAPTER)
    return float(output.abs().max())


def test_vllm_takes_the_last_place_for_requests_without_an_adapter() -> None:
    """Once this fails, vLLM is mended, and the place can go."""
    assert changed_by(1.0) != 0


def test_an_empty_one_changes_nothing() -> None:
    assert changed_by(0.0) == 0
