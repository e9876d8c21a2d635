"""LoRA adapters as PEFT would save them, made of random numbers."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy
from safetensors.numpy import save_file

SCRIPTED_MODULES = {"model.layers.0.self_attn.q_proj": (16, 8), "model.layers.1.self_attn.v_proj": (16, 8)}
"""Some of those that the scripted engine pretends to have, and how many numbers go in and come out."""


def random_tensors(
    modules: Mapping[str, tuple[int, int]] = SCRIPTED_MODULES, *, rank: int = 4, scale: float = 0.1, seed: int = 1
) -> dict[str, Any]:
    numbers = numpy.random.default_rng(seed)
    tensors: dict[str, Any] = {}
    for name, (wide, narrow) in modules.items():
        for half, shape in (("A", (rank, wide)), ("B", (narrow, rank))):
            values = numbers.normal(0, scale, shape).astype(numpy.float32)
            tensors[f"base_model.model.{name}.lora_{half}.weight"] = values
    return tensors


def adapter_config(**changes: Any) -> dict[str, Any]:
    usual = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": 4,
        "lora_alpha": 8,
        "target_modules": ["q_proj", "v_proj"],
        "bias": "none",
        "base_model_name_or_path": None,
    }
    return usual | changes


def write_adapter(folder: Path, tensors: Mapping[str, Any] | None = None, **config: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(adapter_config(**config)))
    save_file(dict(random_tensors() if tensors is None else tensors), folder / "adapter_model.safetensors")
    return folder
