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


INT4_WITH_ACTIVATIONS = {
    QuantizationScheme.INT4_WEIGHT_INT8_DYNAMIC_ACTIVATION,
    QuantizationScheme.INT4_WEIGHT_FP8_DYNAMIC_ACTIVATION,
}


class QuantizationRefused(Exception):
    """The message is for the operator: what was set, why it can't be, and what can."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What decides which quantisations run."""

    on_cpu: bool
    amx: bool = False
    """Whether the CPU multiplies matrices by itself (Intel's Advanced Matrix Extensions)."""
    arm: bool = False


def files_of(config: Mapping[str, Any]) -> QuantizationConfig | None:
    """What a model's config.json says, where its files hold quantised weights."""
    inner = config.get("text_config") or {}
    said = config.get("quantization_config") or inner.get("quantization_config") or config.get("compression_config")
    return described(said) if said else None


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


def engine_args(
    asked: QuantizationSettings | None, files: QuantizationConfig | None, machine: Machine
) -> dict[str, str]:
    """vLLM's arguments for what was asked, of a model with such files. Raises QuantizationRefused."""
    if files is not None:
        refuse_unsupported(files, machine)
    if asked is None:
        return {}
    if files is not None:
        refuse_mismatch(asked, files)
        return {}
    match asked.type:
        case QuantizationType.BF16:
            return {"dtype": "bfloat16"}
        case QuantizationType.FP8:
            refuse_unsupported(Fp8QuantizationConfig(), machine)
            # By tensor is the one that older GPUs run too; by block the one that CPUs have a kernel for.
            if machine.on_cpu:
                return {"dtype": "bfloat16", "quantization": "fp8_per_block"}
            return {"dtype": "auto", "quantization": "fp8_per_tensor"}
        case _:
            raise QuantizationRefused(
                f"{shown(asked)} is set, but its weights are not quantised, and vLLM can't do that while it loads: "
                "give a model whose weights are (llm-compressor, GPTQ and AWQ make such). "
                f"Here run: {supported(machine)}."
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


def refuse_unsupported(weights: QuantizationConfig, machine: Machine) -> None:
    """Raises QuantizationRefused for weights that this machine has no kernel for.

    vLLM runs two of them all the same, with code that only shows what a kernel should do: measured on two cores, a
    small model takes 0.6 s for each step in fp8, and in int4 with 8-bit activations 0.3 s for each token of the prompt
    and the answer, where bfloat16 takes 0.03 s.
    """
    if not machine.on_cpu:
        return
    match weights:
        case Fp8QuantizationConfig() if not machine.amx:
            lacks = "fp8 weights need a CPU with AMX, or a GPU"
        case Int8QuantizationConfig(scheme=QuantizationScheme.INT8_WEIGHT_ONLY):
            lacks = "int8_weight_only needs a GPU"
        case Int4QuantizationConfig(scheme=scheme) if scheme in INT4_WITH_ACTIVATIONS and not machine.arm:
            lacks = f"{scheme} needs a CPU of Arm's, or a GPU"
        case _:
            return
    raise QuantizationRefused(f"{lacks}. Here run: {supported(machine)}.")


def supported(machine: Machine) -> str:
    """What runs here, for people."""
    if not machine.on_cpu:
        return "bf16 and fp8 of any model; int8 and int4 of models whose weights are"
    made = "bf16 and fp8" if machine.amx else "bf16"
    int4 = "int4" if machine.arm else "int4_weight_only"
    return f"{made} of any model; int8 with int8 activations, and {int4}, of models whose weights are"


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
