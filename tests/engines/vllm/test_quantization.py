"""What vLLM is told about quantisation, and what it made of it."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from vllm.config.quantization import ONLINE_QUANT_SHORTHAND_NAMES
from vllm.model_executor.layers.quantization import QUANTIZATION_METHODS

from service.api.models import (
    Bf16QuantizationConfig,
    Fp8QuantizationConfig,
    Int4QuantizationConfig,
    ModelType,
    OtherQuantizationConfig,
    QuantizationConfig,
)
from service.engines import quantization
from service.engines.quantization import Machine, QuantizationRefused
from service.engines.vllm.quantization import dtype_of, engine_args, files_of, loaded, refuse_other
from service.settings import ModelSettings
from service.settings.quantization import QuantizationSettings, QuantizationType
from tests.quantized_models import W4A16, W8A8, compressed_tensors_config

FP8 = QuantizationSettings(type=QuantizationType.FP8)


def model(path: Path | str, **fields: Any) -> ModelSettings:
    return ModelSettings.model_validate({"path": str(path), **fields})


def made_of(method: str | None, said: dict[str, Any] | None, dtype: torch.dtype = torch.bfloat16) -> Any:
    """What of vLLM's ModelConfig tells how the weights are held."""
    return SimpleNamespace(
        quantization=method, dtype=dtype, model_arch_config=SimpleNamespace(quantization_config=said)
    )


@pytest.fixture
def quantised(tmp_path: Path) -> Path:
    config = {"model_type": "llama", "quantization_config": compressed_tensors_config(W8A8)}
    (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    return tmp_path


@pytest.mark.parametrize(
    ("config", "weights"),
    [
        (made_of(None, None), Bf16QuantizationConfig()),
        (made_of(None, None, torch.float32), None),
        (made_of("fp8_per_channel", None), Fp8QuantizationConfig(method="fp8_per_channel")),
        (made_of("mxfp4", None), OtherQuantizationConfig(method="mxfp4", scheme="mxfp4")),
        (
            made_of("auto_gptq", {"quant_method": "gptq", "bits": 4}, torch.float16),
            Int4QuantizationConfig(method="auto_gptq", scheme=W4A16),
        ),
    ],
)
def test_what_was_loaded(config: Any, weights: QuantizationConfig | None) -> None:
    assert loaded(config) == weights


def test_the_number_format_is_told_by_its_name() -> None:
    assert dtype_of(made_of(None, None, torch.float16)) == "float16"


@pytest.mark.parametrize("machine", [Machine(on_cpu=True, amx=True), Machine(on_cpu=False)])
def test_vllm_knows_what_it_is_told(machine: Machine) -> None:
    args = quantization.engine_args(FP8, None, machine)
    assert args["quantization"] in {*ONLINE_QUANT_SHORTHAND_NAMES} & {*QUANTIZATION_METHODS}


def test_an_embedding_model_may_give_up_precision(whole: Path) -> None:
    embedder = {"type": ModelType.EMBEDDING}
    assert engine_args(model(whole, **embedder), models=1, on_cpu=True)["dtype"] == "float32"
    smaller = model(whole, **embedder, quantization={"type": "bf16"})
    assert engine_args(smaller, models=1, on_cpu=True)["dtype"] == "bfloat16"


def test_quantised_weights_are_left_to_their_files(quantised: Path) -> None:
    args = engine_args(model(quantised), models=1, on_cpu=True)
    assert not {"quantization", "dtype"} & args.keys()
    embedder = engine_args(model(quantised, type=ModelType.EMBEDDING), models=1, on_cpu=True)
    assert embedder["dtype"] == "bfloat16"


def test_the_operators_dtype_wins(whole: Path) -> None:
    own = model(whole, type=ModelType.EMBEDDING, engine_args={"dtype": "float16"})
    assert engine_args(own, models=1, on_cpu=True)["dtype"] == "float16"


def test_a_contradiction_is_refused_before_anything_is_loaded(quantised: Path) -> None:
    with pytest.raises(QuantizationRefused, match="int8_weight_int8_dynamic_activation"):
        engine_args(model(quantised, quantization={"type": "bf16"}), models=1, on_cpu=True)


def test_what_vllm_makes_of_it_is_compared_once_more(whole: Path) -> None:
    asked = model(whole, quantization={"type": "bf16"})
    refuse_other(asked, made_of(None, None))
    with pytest.raises(QuantizationRefused, match="fp8"):
        refuse_other(asked, made_of("fp8_per_tensor", None))


def test_files_that_can_not_be_read_are_left_to_vllm(tmp_path: Path) -> None:
    assert files_of(model(tmp_path)) is None
    (tmp_path / "config.json").write_text("{")
    assert files_of(model(tmp_path)) is None
