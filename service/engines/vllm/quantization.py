"""What vLLM is told about quantisation, and what it made of it."""

from collections.abc import Mapping
from typing import Any

import torch
from transformers import PretrainedConfig
from vllm.config.quantization import ONLINE_QUANT_SHORTHAND_NAMES
from vllm.platforms import CpuArchEnum, current_platform

from service.api.models import (
    Bf16QuantizationConfig,
    Fp8QuantizationConfig,
    OtherQuantizationConfig,
    QuantizationConfig,
)
from service.engines import quantization
from service.engines.quantization import Machine
from service.engines.vllm import defaults
from service.settings import ModelSettings


def machine() -> Machine:
    on_cpu = bool(current_platform.is_cpu())
    arm = current_platform.get_cpu_architecture() is CpuArchEnum.ARM
    return Machine(on_cpu, on_cpu and bool(torch.cpu._is_amx_tile_supported()), arm)


def files_of(settings: ModelSettings) -> QuantizationConfig | None:
    """What the model's files hold. None also where they can't be read: then vLLM says why."""
    try:
        config, _ = PretrainedConfig.get_config_dict(settings.path, revision=settings.engine_args.get("revision"))
    except (OSError, ValueError):
        return None
    return quantization.files_of(config)


def loaded(config: Any) -> QuantizationConfig | None:
    """How the weights are held, of a model with this ModelConfig. None for those in another format of 16 or 32 bits."""
    method: str | None = config.quantization
    said: Mapping[str, Any] | None = config.model_arch_config.quantization_config
    if method is None:
        return Bf16QuantizationConfig() if config.dtype is torch.bfloat16 else None
    if said:
        return quantization.described(said).model_copy(update={"method": method})
    if method in ONLINE_QUANT_SHORTHAND_NAMES and method.startswith("fp8_"):
        return Fp8QuantizationConfig(method=method)
    return OtherQuantizationConfig(method=method, scheme=method)


def engine_args(settings: ModelSettings, *, models: int, on_cpu: bool) -> dict[str, Any]:
    """The defaults, with what is asked of the weights; a model's own `engine_args` win. Raises QuantizationRefused."""
    files = files_of(settings)
    args = defaults.engine_args(settings, models=models, on_cpu=on_cpu, quantised=files is not None)
    return args | quantization.engine_args(settings.quantization, files, machine()) | settings.engine_args


def refuse_other(settings: ModelSettings, config: Any) -> None:
    """Raises QuantizationRefused if vLLM is about to load something else than was asked for."""
    if settings.quantization:
        quantization.refuse_mismatch(settings.quantization, loaded(config))


def dtype_of(config: Any) -> str:
    """The number format that the model computes in, such as `bfloat16`."""
    return str(config.dtype).removeprefix("torch.")
