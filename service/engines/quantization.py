"""Quantised weights: what a model's files hold, what was asked for, and what the machine can run.

Pure, so that `inferwire doctor` says what a start would say. What is known of CPUs is vLLM's (0.32), by its kernels.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from service.api.models import (
    Bf16QuantizationConfig,
    Fp8QuantizationConfig,
    Int4QuantizationConfig,
    Int8QuantizationConfig,
    OtherQuantizationConfig,
    QuantizationConfig,
)
from service.settings.quantization import QuantizationScheme, QuantizationSettings, QuantizationType

WEIGHT_ONLY_METHODS = {"gptq", "auto_gptq", "gptq_marlin", "awq", "auto_awq", "awq_marlin", "auto-round", "inc"}
FP8_METHODS = {"fp8", "fbgemm_fp8"}
KINDS = {"int": "int", "float": "fp"}


class QuantizationRefused(Exception):
    """The message is for the operator: what was set, why it can't be, and what can."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What decides which quantisations run."""

    on_cpu: bool
    amx: bool = False
    """Whether the CPU multiplies matrices by itself (Intel's Advanced Matrix Extensions)."""


@dataclass(frozen=True, slots=True)
class Files:
    """What a model's files hold, where they hold quantised weights."""

    weights: QuantizationConfig
    in_blocks: bool
    """Whether each scale is for a block of rows and columns, rather than for a row or for all."""


def files_of(config: Mapping[str, Any]) -> Files | None:
    """What a model's config.json says."""
    inner = config.get("text_config") or {}
    said = config.get("quantization_config") or inner.get("quantization_config") or config.get("compression_config")
    return Files(described(said), _in_blocks(said)) if said else None


def _in_blocks(said: Mapping[str, Any]) -> bool:
    groups = (said.get("config_groups") or {}).values()
    return bool(said.get("weight_block_size")) or any(
        (group.get("weights") or {}).get("strategy") == "block" for group in groups
    )


def described(said: Mapping[str, Any]) -> QuantizationConfig:
    """What `quantization_config` in a model's config.json says."""
    method = str(said.get("quant_method") or "unknown").lower()
    schemes = _schemes(method, said)
    weights = {scheme.partition("_")[0] for scheme in schemes}
    match sorted(weights), sorted(schemes):
        case ["fp8"], _:
            return Fp8QuantizationConfig(method=method)
        case ["int8"], [scheme]:
            return Int8QuantizationConfig(method=method, scheme=scheme)
        case ["int4"], [scheme]:
            return Int4QuantizationConfig(method=method, scheme=scheme)
        case _, several:
            return OtherQuantizationConfig(method=method, scheme=", ".join(several) or method)


def _schemes(method: str, said: Mapping[str, Any]) -> set[str]:
    """One for each group of layers that differs; none where the method says nothing that is known here."""
    bits = said.get("bits", said.get("w_bit"))
    if method == "compressed-tensors":
        groups = said.get("config_groups") or {}
        return {_scheme(group.get("weights"), group.get("input_activations")) for group in groups.values()}
    if method in WEIGHT_ONLY_METHODS and bits and said.get("data_type", "int") == "int":
        return {f"int{bits}_weight_only"}
    if method in FP8_METHODS or str(said.get("quant_algo", "")).upper().startswith("FP8"):
        return {"fp8_weight"}
    return set()


def _scheme(weights: Mapping[str, Any] | None, activations: Mapping[str, Any] | None) -> str:
    if not weights:
        return "unquantized_weight"
    if not activations:
        return f"{_numbers(weights)}_weight_only"
    when = "dynamic" if activations.get("dynamic") else "static"
    return f"{_numbers(weights)}_weight_{_numbers(activations)}_{when}_activation"


def _numbers(of: Mapping[str, Any]) -> str:
    return f"{KINDS.get(str(of.get('type', 'int')), 'unknown')}{of.get('num_bits', '')}"


def engine_args(asked: QuantizationSettings | None, files: Files | None, machine: Machine) -> dict[str, str]:
    """vLLM's arguments for what was asked, of a model with such files. Raises QuantizationRefused."""
    if files is not None:
        refuse_unsupported(files, machine)
    if asked is None:
        return {}
    if files is not None:
        refuse_mismatch(asked, files.weights)
        return {}
    match asked.type:
        case QuantizationType.BF16:
            return {"dtype": "bfloat16"}
        case QuantizationType.FP8:
            # By tensor is the one that older GPUs run too; for CPUs vLLM lacks the kernel that makes it.
            if machine.on_cpu:
                return {"dtype": "bfloat16", "quantization": "fp8_per_channel"}
            return {"dtype": "auto", "quantization": "fp8_per_tensor"}
        case _:
            raise QuantizationRefused(
                f"{shown(asked)} is set, but its weights are not quantised, and vLLM can't do that while it loads: "
                "give a model whose weights are (llm-compressor, GPTQ and AWQ make such), or set bf16 or fp8."
            )


def refuse_mismatch(asked: QuantizationSettings, loaded: QuantizationConfig | None) -> None:
    """Raises QuantizationRefused unless the one is the other."""
    setting = setting_of(loaded)
    if setting is None or setting.type is not asked.type or setting.full_scheme is not asked.full_scheme:
        instead = f", set {shown(setting)}" if setting else ""
        raise QuantizationRefused(
            f"{shown(asked)} is set, but the model's weights are {told(loaded)}: leave the setting out{instead}, or "
            "give another model."
        )


def refuse_unsupported(files: Files, machine: Machine) -> None:
    """Raises QuantizationRefused for weights that this machine has no kernels for."""
    match files.weights:
        case Fp8QuantizationConfig() if machine.on_cpu and files.in_blocks and not machine.amx:
            lacks = "fp8 in blocks, which needs a CPU with AMX, or a GPU"
        case Int8QuantizationConfig(scheme=QuantizationScheme.INT8_WEIGHT_ONLY) if machine.on_cpu:
            lacks = "int8_weight_only, which needs a GPU"
        case _:
            return
    raise QuantizationRefused(f"The model's weights are {lacks}. Here run: {supported(machine)}.")


def supported(machine: Machine) -> str:
    """What runs here, for people."""
    made = "bf16 and fp8 of any model"
    if not machine.on_cpu:
        return f"{made}; int8 and int4 of models whose weights are"
    blocks = "" if machine.amx else "; fp8 not in blocks"
    return f"{made}; int4 and int8 (with int8 activations) of models whose weights are{blocks}"


def setting_of(weights: QuantizationConfig | None) -> QuantizationSettings | None:
    """What to set for such weights; None where there is no setting for them."""
    match weights:
        case Bf16QuantizationConfig():
            return QuantizationSettings(type=QuantizationType.BF16)
        case Fp8QuantizationConfig():
            return QuantizationSettings(type=QuantizationType.FP8)
        case Int8QuantizationConfig(scheme=scheme) | Int4QuantizationConfig(scheme=scheme) if scheme in set(
            QuantizationScheme
        ):
            kind = QuantizationType.INT8 if isinstance(weights, Int8QuantizationConfig) else QuantizationType.INT4
            return QuantizationSettings(type=kind, scheme=QuantizationScheme(str(scheme)))
        case _:
            return None


def shown(setting: QuantizationSettings) -> str:
    """As in a settings file, the scheme only where it has to be said."""
    scheme = f", scheme: {setting.scheme}" if setting.scheme else ""
    return f"`quantization: {{type: {setting.type}{scheme}}}`"


def told(weights: QuantizationConfig | None) -> str:
    match weights:
        case None:
            return "neither quantised nor bfloat16"
        case Bf16QuantizationConfig():
            return "bfloat16"
        case Fp8QuantizationConfig():
            told = "fp8"
        case _:
            told = str(weights.scheme)
    return f"{told} ({weights.method})" if weights.method else told
