"""What this machine can run of quantised weights, whether it is what the settings ask for, and what it takes."""

import json
import math
import platform
from collections.abc import Iterator
from pathlib import Path

from service.api.models import ModelType, QuantizationConfig
from service.cli.diagnosis.finding import Finding, ok, problem
from service.cli.diagnosis.gpus import find_gpus
from service.engines.quantization import (
    Machine,
    QuantizationRefused,
    engine_args,
    files_of,
    supported,
    told,
)
from service.settings import ModelSettings
from service.settings.quantization import QuantizationType

CPU_INFO = Path("/proc/cpuinfo")
DTYPE_BYTES = {"float32": 4, "float": 4, "float16": 2, "half": 2, "bfloat16": 2}
# What fp8 leaves as it is: vLLM quantises what multiplies matrices, and not the tables of tokens.
TABLES = ("embed", "lm_head", "wte", "wpe")


def this_machine() -> Machine:
    if find_gpus():
        return Machine(on_cpu=False)
    amx = "amx_tile" in CPU_INFO.read_text(encoding="utf-8", errors="replace")
    return Machine(on_cpu=True, amx=amx, arm=platform.machine() in ("aarch64", "arm64"))


def check_support() -> Finding:
    return ok("quantisation", supported(this_machine()))


def check_quantization(model: ModelSettings, folder: Path) -> Iterator[Finding]:
    """Says nothing of a model that isn't quantised and shall not be."""
    subject, files = f"{model.id} quantisation", files_in(folder)
    try:
        engine_args(model.quantization, files, this_machine())
    except QuantizationRefused as refused:
        yield problem(subject, str(refused), "Change models[].quantization, or the model.")
        return
    if files:
        yield ok(subject, f"{told(files)}, as in its files")
    elif model.quantization:
        yield ok(subject, f"{model.quantization.type}, made while it loads")


def files_in(folder: Path) -> QuantizationConfig | None:
    try:
        return files_of(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, AttributeError):
        return None  # of which check_models tells


def loaded_bytes(model: ModelSettings, folder: Path, stored_bytes: int) -> int:
    """What the weights take once they are loaded, of a model whose files have so many bytes of them."""
    shapes = list(_shapes(folder))
    if files_in(folder) or not shapes:
        return stored_bytes
    whole = _bytes_a_number(model)
    fp8 = model.quantization is not None and model.quantization.type is QuantizationType.FP8
    return sum(count * (1 if fp8 and is_matrix else whole) for count, is_matrix in shapes)


def _bytes_a_number(model: ModelSettings) -> int:
    """As the server's own defaults have it; vLLM halves float32 by itself."""
    usual = 2 if model.type is ModelType.LLM or model.quantization else 4
    return DTYPE_BYTES.get(str(model.engine_args.get("dtype")), usual)


def _shapes(folder: Path) -> Iterator[tuple[int, bool]]:
    """Of each tensor, how many numbers it has, and whether it is one that fp8 makes smaller. Reads headers only."""
    from safetensors import SafetensorError, safe_open

    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, framework="numpy") as opened:
                for name in opened.keys():  # noqa: SIM118
                    shape = opened.get_slice(name).get_shape()
                    yield math.prod(shape), len(shape) > 1 and not any(table in name for table in TABLES)
        except (OSError, SafetensorError):
            return
