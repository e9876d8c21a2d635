"""What a model's files say of quantisation, and what is refused where."""

from typing import Any

import pytest

from service.api.models import (
    Bf16QuantizationConfig,
    Fp8QuantizationConfig,
    Int4QuantizationConfig,
    Int8QuantizationConfig,
    OtherQuantizationConfig,
    QuantizationConfig,
)
from service.engines.quantization import (
    Machine,
    QuantizationRefused,
    described,
    engine_args,
    files_of,
    refuse_mismatch,
    setting_of,
    shown,
    told,
)
from service.settings.quantization import QuantizationSettings
from tests.quantized_models import W4A8, W4A16, W8A8, compressed_tensors_config

CPU, AMX, GPU = Machine(on_cpu=True), Machine(on_cpu=True, amx=True), Machine(on_cpu=False)
ARM = Machine(on_cpu=True, arm=True)
COMPRESSED = "compressed-tensors"


def asked(**fields: Any) -> QuantizationSettings:
    return QuantizationSettings.model_validate(fields)


def compressed(*groups: dict[str, Any]) -> dict[str, Any]:
    return {"quant_method": COMPRESSED, "config_groups": {str(n): group for n, group in enumerate(groups)}}


FLOAT8 = {"type": "float", "num_bits": 8}
INT4, INT8 = {"type": "int", "num_bits": 4}, {"type": "int", "num_bits": 8}


@pytest.mark.parametrize(
    ("said", "weights"),
    [
        (compressed_tensors_config(W8A8), Int8QuantizationConfig(method=COMPRESSED, scheme=W8A8)),
        (compressed_tensors_config(W4A8), Int4QuantizationConfig(method=COMPRESSED, scheme=W4A8)),
        (compressed_tensors_config(W4A16), Int4QuantizationConfig(method=COMPRESSED, scheme=W4A16)),
        (
            compressed({"weights": INT8, "input_activations": {**INT8, "dynamic": False}}),
            Int8QuantizationConfig(method=COMPRESSED, scheme="int8_weight_int8_static_activation"),
        ),
        (
            compressed({"weights": FLOAT8, "input_activations": {**FLOAT8, "dynamic": True}}),
            Fp8QuantizationConfig(method=COMPRESSED),
        ),
        (
            compressed({"weights": INT4}, {"weights": INT8}),
            OtherQuantizationConfig(method=COMPRESSED, scheme="int4_weight_only, int8_weight_only"),
        ),
        (compressed(), OtherQuantizationConfig(method=COMPRESSED, scheme=COMPRESSED)),
        ({"quant_method": "gptq", "bits": 4}, Int4QuantizationConfig(method="gptq", scheme="int4_weight_only")),
        ({"quant_method": "gptq", "bits": 8}, Int8QuantizationConfig(method="gptq", scheme="int8_weight_only")),
        ({"quant_method": "gptq", "bits": 3}, OtherQuantizationConfig(method="gptq", scheme="int3_weight_only")),
        ({"quant_method": "AWQ", "w_bit": 4}, Int4QuantizationConfig(method="awq", scheme="int4_weight_only")),
        ({"quant_method": "fp8", "activation_scheme": "dynamic"}, Fp8QuantizationConfig(method="fp8")),
        ({"quant_method": "modelopt", "quant_algo": "FP8"}, Fp8QuantizationConfig(method="modelopt")),
        ({"quant_method": "mxfp4"}, OtherQuantizationConfig(method="mxfp4", scheme="mxfp4")),
        ({}, OtherQuantizationConfig(method="unknown", scheme="unknown")),
    ],
)
def test_what_the_files_say(said: dict[str, Any], weights: QuantizationConfig) -> None:
    assert described(said) == weights


@pytest.mark.parametrize(
    "config",
    [
        {"quantization_config": compressed_tensors_config(W8A8)},
        {"compression_config": compressed_tensors_config(W8A8)},
        {"text_config": {"quantization_config": compressed_tensors_config(W8A8)}},
    ],
)
def test_where_the_files_say_it(config: dict[str, Any]) -> None:
    assert files_of(config) == Int8QuantizationConfig(method=COMPRESSED, scheme=W8A8)


def test_files_that_say_nothing_are_not_quantised() -> None:
    assert files_of({"model_type": "llama", "text_config": {}}) is None


@pytest.mark.parametrize(
    ("fields", "machine", "args"),
    [
        (None, CPU, {}),
        ({"type": "bf16"}, CPU, {"dtype": "bfloat16"}),
        ({"type": "bf16"}, GPU, {"dtype": "bfloat16"}),
        ({"type": "fp8"}, AMX, {"dtype": "bfloat16", "quantization": "fp8_per_block"}),
        ({"type": "fp8"}, GPU, {"dtype": "auto", "quantization": "fp8_per_tensor"}),
    ],
)
def test_weights_that_are_not_quantised(fields: dict[str, Any] | None, machine: Machine, args: dict[str, str]) -> None:
    assert engine_args(fields and asked(**fields), None, machine) == args


@pytest.mark.parametrize("kind", ["int4", "int8"])
def test_integers_are_not_made_while_a_model_loads(kind: str) -> None:
    with pytest.raises(QuantizationRefused, match=rf"{kind}.*llm-compressor.*bf16 and fp8"):
        engine_args(asked(type=kind), None, GPU)


@pytest.mark.parametrize("scheme", [W8A8, W4A8, W4A16])
def test_quantised_weights_are_loaded_as_they_are(scheme: str) -> None:
    files = files_of({"quantization_config": compressed_tensors_config(scheme)})
    setting = asked(type=scheme.partition("_")[0], scheme=scheme)
    assert engine_args(setting, files, GPU) == engine_args(None, files, GPU) == {}


def test_fp8_is_not_made_where_it_would_crawl() -> None:
    with pytest.raises(QuantizationRefused, match=r"AMX.*Here run: bf16 of any model"):
        engine_args(asked(type="fp8"), None, CPU)


def test_the_seeds_scheme_is_the_default() -> None:
    refuse_mismatch(asked(type="int4"), Int4QuantizationConfig(scheme="int4_weight_int8_dynamic_activation"))


@pytest.mark.parametrize(
    ("fields", "weights", "told_as"),
    [
        ({"type": "int4"}, Int4QuantizationConfig(method="awq", scheme=W4A16), "int4_weight_only"),
        ({"type": "bf16"}, Int8QuantizationConfig(scheme=W8A8), "type: int8"),
        ({"type": "fp8"}, Int8QuantizationConfig(scheme=W8A8), "type: int8"),
        ({"type": "int8"}, Fp8QuantizationConfig(), "type: fp8"),
        ({"type": "int8"}, OtherQuantizationConfig(scheme="mxfp4"), "are mxfp4: leave the setting out, or"),
        ({"type": "bf16"}, None, "neither"),
    ],
)
def test_another_quantisation_than_asked_for_is_refused(
    fields: dict[str, Any], weights: QuantizationConfig | None, told_as: str
) -> None:
    with pytest.raises(QuantizationRefused) as refused:
        refuse_mismatch(asked(**fields), weights)
    assert shown(asked(**fields)) in str(refused.value)
    assert told_as in str(refused.value)


@pytest.mark.parametrize(
    ("said", "runs_on"),
    [
        ({"quant_method": "fp8"}, {AMX, GPU}),
        ({"quant_method": "gptq", "bits": 8}, {GPU}),
        ({"quant_method": "gptq", "bits": 4}, {CPU, AMX, ARM, GPU}),
        (compressed_tensors_config(W4A16), {CPU, AMX, ARM, GPU}),
        (compressed_tensors_config(W4A8), {ARM, GPU}),
        (compressed_tensors_config(W8A8), {CPU, AMX, ARM, GPU}),
    ],
)
def test_weights_without_a_kernel_are_refused(said: dict[str, Any], runs_on: set[Machine]) -> None:
    files = files_of({"quantization_config": said})
    for machine in (CPU, AMX, ARM, GPU):
        if machine in runs_on:
            assert engine_args(None, files, machine) == {}
        else:
            with pytest.raises(QuantizationRefused, match="Here run: bf16"):
                engine_args(None, files, machine)


@pytest.mark.parametrize(
    "weights",
    [
        Bf16QuantizationConfig(),
        Fp8QuantizationConfig(method="fp8"),
        Int8QuantizationConfig(scheme=W8A8),
        Int4QuantizationConfig(scheme=W4A16),
    ],
)
def test_what_is_loaded_can_be_asked_for(weights: QuantizationConfig) -> None:
    setting = setting_of(weights)
    assert setting is not None
    refuse_mismatch(setting, weights)
    assert told(weights)
