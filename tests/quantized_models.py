"""Quantised copies of a model, made on the spot: each weight is rounded to the nearest step, with nothing to calibrate.

python -m tests.quantized_models MODEL FOLDER SCHEME
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

GROUP = 32
W8A8, W4A8, W4A16 = "int8_weight_int8_dynamic_activation", "int4_weight_int8_dynamic_activation", "int4_weight_only"
BITS = {W8A8: 8, W4A8: 4, W4A16: 4}
FORMATS = {W8A8: "int-quantized", W4A8: "int-quantized", W4A16: "pack-quantized"}
BESIDE = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json")


def make_quantized_model(model: Path, folder: Path, scheme: str) -> Path:
    """Writes it to `folder`. In a process of its own, for what torch takes of the memory."""
    command = [sys.executable, "-m", __name__, str(model), str(folder), scheme]
    subprocess.run(command, check=True, capture_output=True)
    return folder


def compressed_tensors_config(scheme: str) -> dict[str, Any]:
    weights: dict[str, Any] = {"num_bits": BITS[scheme], "type": "int", "symmetric": True, "dynamic": False}
    weights |= {"strategy": "channel"} if scheme == W8A8 else {"strategy": "group", "group_size": GROUP}
    activations = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "token", "dynamic": True}
    group = {"targets": ["Linear"], "weights": weights}
    return {
        "quant_method": "compressed-tensors",
        "quantization_status": "compressed",
        "format": FORMATS[scheme],
        "ignore": ["lm_head"],
        "config_groups": {"group_0": group if scheme == W4A16 else group | {"input_activations": activations}},
    }


def _write(model: Path, folder: Path, scheme: str) -> None:
    from safetensors.torch import load_file, save_file

    folder.mkdir(parents=True, exist_ok=True)
    weights: dict[str, Any] = {}
    for name, tensor in load_file(model / "model.safetensors").items():
        if name.endswith("_proj.weight"):
            weights.update(_quantized(name.removesuffix(".weight"), tensor, scheme))
        else:
            weights[name] = tensor
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / "model.safetensors")
    for file in BESIDE:
        if (model / file).exists():
            shutil.copy(model / file, folder)
    config = json.loads((model / "config.json").read_text())
    config["quantization_config"] = compressed_tensors_config(scheme)
    (folder / "config.json").write_text(json.dumps(config))


def _quantized(layer: str, weight: Any, scheme: str) -> Iterator[tuple[str, Any]]:
    import torch

    rows, columns = weight.shape
    largest = 2 ** (BITS[scheme] - 1) - 1
    grouped = weight.float().reshape(rows, -1, columns if scheme == W8A8 else GROUP)
    scale = (grouped.abs().amax(dim=-1, keepdim=True) / largest).clamp_min(1e-8)
    steps = (grouped / scale).round().clamp(-largest - 1, largest).to(torch.int8).reshape(rows, columns)
    yield f"{layer}.weight_scale", scale.squeeze(-1).to(weight.dtype)
    if scheme == W4A16:
        from compressed_tensors.compressors import pack_to_int32

        yield f"{layer}.weight_packed", pack_to_int32(steps, BITS[scheme])
        yield f"{layer}.weight_shape", torch.tensor([rows, columns])
    else:
        yield f"{layer}.weight", steps


if __name__ == "__main__":
    _write(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
