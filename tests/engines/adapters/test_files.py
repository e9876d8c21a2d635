"""Adapters that no engine is to see, each with what is told about it."""

import json
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest

from service.engines.adapters.files import AdapterFiles, AdapterSource
from service.engines.base import AdapterHost
from service.engines.scripted import scripted_host
from service.errors import ModelNotLoadable
from service.settings import ModelSettings
from tests.adapter_files import SCRIPTED_MODULES, adapter_config, random_tensors, write_adapter

HOST = scripted_host(ModelSettings(path="makers/Small-1B", id="small", max_adapters=1, max_lora_rank=8))
Q = "base_model.model.model.layers.0.self_attn.q_proj.lora_{}.weight"


def read(root: Path, host: AdapterHost = HOST, *, check_base: bool = True) -> AdapterFiles:
    return AdapterSource(root, check_base).read("it", host)


def refusal(root: Path, host: AdapterHost = HOST) -> str:
    with pytest.raises(ModelNotLoadable) as refused:
        read(root, host)
    assert str(root) not in refused.value.message
    return refused.value.message


class TestWhatIsTaken:
    def test_an_adapter(self, tmp_path: Path) -> None:
        files = read(write_adapter(tmp_path / "it").parent)
        assert files.folder == tmp_path / "it"
        assert (files.chat_template, files.tokenizer) == (None, None)

    def test_the_digest_is_that_of_the_contents(self, tmp_path: Path) -> None:
        first, same, other = (tmp_path / name for name in ("first", "same", "other"))
        for folder, seed in ((first, 1), (same, 1), (other, 2)):
            write_adapter(folder / "it", random_tensors(seed=seed))
        assert read(first).digest == read(same).digest != read(other).digest
        (same / "it" / "chat_template.jinja").write_text("x")
        assert read(first).digest != read(same).digest

    @pytest.mark.parametrize(
        "config",
        [
            {"use_rslora": True},
            {"rank_pattern": {"v_proj": 4}, "alpha_pattern": {"v_proj": 2}},
            {"target_modules": "all-linear"},
            {"target_modules": ["self_attn.q_proj", "v_proj"]},
            {"modules_to_save": None, "use_dora": False, "layer_replication": None, "inference_mode": True},
            {"base_model_name_or_path": "/home/me/models/small-1b/"},
            {"base_model_name_or_path": "SMALL"},
            {"base_model_name_or_path": ""},
        ],
        ids=str,
    )
    def test_configurations(self, tmp_path: Path, config: dict[str, Any]) -> None:
        read(write_adapter(tmp_path / "it", **config).parent)

    @pytest.mark.parametrize("prefix", ["", "base_model.model.", "base_model.model.language_model."])
    def test_names_of_modules(self, tmp_path: Path, prefix: str) -> None:
        tensors = {name.replace("base_model.model.", prefix): value for name, value in random_tensors().items()}
        read(write_adapter(tmp_path / "it", tensors).parent)

    @pytest.mark.parametrize("kind", ["float16", "float32"])
    def test_numbers(self, tmp_path: Path, kind: str) -> None:
        tensors = {name: value.astype(kind) for name, value in random_tensors().items()}
        read(write_adapter(tmp_path / "it", tensors).parent)

    def test_bfloat16(self, tmp_path: Path) -> None:
        read(as_bfloat16(tmp_path, random_tensors()))

    def test_one_of_another_base_where_the_operator_says_so(self, tmp_path: Path) -> None:
        root = write_adapter(tmp_path / "it", base_model_name_or_path="others/Model").parent
        assert "'others/Model'" in refusal(root)
        read(root, check_base=False)

    def test_modules_that_nobody_knows_are_left_to_the_engine(self, tmp_path: Path) -> None:
        root = write_adapter(tmp_path / "it", random_tensors({"strange": (7, 5)}), target_modules=["strange"]).parent
        read(root, AdapterHost(1, 8, HOST.names, None))

    def test_a_pickle_beside_the_weights_is_left_alone(self, tmp_path: Path) -> None:
        write_adapter(tmp_path / "it")
        (tmp_path / "it" / "adapter_model.bin").write_bytes(b"\x80\x04.")
        read(tmp_path)


CONFIGS: dict[str, tuple[dict[str, Any], str]] = {
    "no kind": ({"peft_type": None}, "peft_type"),
    "another kind": ({"peft_type": "IA3"}, "only LORA"),
    "no rank": ({"r": None}, "r:"),
    "rank 0": ({"r": 0}, "r:"),
    "negative rank": ({"r": -4}, "r:"),
    "rank as text": ({"r": "4"}, "r:"),
    "half a rank": ({"r": 4.5}, "r:"),
    "rank as truth": ({"r": True}, "r:"),
    "too high a rank": ({"r": 16}, "the rank is 16; the base takes at most 8"),
    "enormous rank": ({"r": 2**70}, "r:"),
    "too high a rank by pattern": ({"rank_pattern": {"q_proj": 9}}, "the rank is 9"),
    "pattern of 0": ({"rank_pattern": {"q_proj": 0}}, "rank_pattern"),
    "no alpha": ({"lora_alpha": None}, "lora_alpha"),
    "alpha 0": ({"lora_alpha": 0}, "lora_alpha"),
    "no number as alpha": ({"lora_alpha": float("nan")}, "lora_alpha"),
    "bias": ({"bias": "all"}, "bias"),
    "dora": ({"use_dora": True}, "use_dora"),
    "bias of its own": ({"lora_bias": True}, "lora_bias"),
    "modules besides": ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
    "layers twice": ({"layer_replication": [[0, 1], [0, 1]]}, "layer_replication"),
    "new tokens": ({"trainable_token_indices": [1]}, "trainable_token_indices"),
    "activated": ({"alora_invocation_tokens": [1]}, "alora_invocation_tokens"),
    "quantisation aware": ({"use_qalora": True}, "use_qalora"),
    "other modules": ({"target_modules": ["q_proj", "w_pack"]}, "the base has no 'w_pack'"),
    "half a name": ({"target_modules": ["proj"]}, "the base has no 'proj'"),
    "targets as numbers": ({"target_modules": [1]}, "target_modules"),
    "another base": ({"base_model_name_or_path": "others/Small-7B"}, "trained on 'others/Small-7B'"),
}


@pytest.mark.parametrize(("config", "told"), CONFIGS.values(), ids=CONFIGS)
def test_configurations_that_are_refused(tmp_path: Path, config: dict[str, Any], told: str) -> None:
    message = refusal(write_adapter(tmp_path / "it", **config).parent)
    assert message.startswith("adapter_config.json: ")
    assert told in message


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", b"{}", b"[" * 100_000, b'{"a":' * 50_000, b" " * 2_000_000],
    ids=lambda text: f"{text[:8]!r} {len(text)}",
)
def test_what_is_no_configuration(tmp_path: Path, text: bytes) -> None:
    write_adapter(tmp_path / "it")
    (tmp_path / "it" / "adapter_config.json").write_bytes(text)
    assert "adapter_config.json" in refusal(tmp_path)


def changed(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda tensors: tensors.update({name: value})


def without(name: str) -> Callable[[dict[str, Any]], None]:
    def drop(tensors: dict[str, Any]) -> None:
        del tensors[name]

    return drop


def ones(*shape: int, kind: str = "float32") -> Any:
    return numpy.ones(shape, kind)


def with_one(value: float, kind: str = "float32") -> Any:
    values = ones(4, 16, kind=kind)
    values[3, 15] = value
    return values


TENSORS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "none": (lambda tensors: tensors.clear(), "holds no tensors"),
    "half of one": (without(Q.format("A")), "one half is missing"),
    "the other half": (without(Q.format("B")), "one half is missing"),
    "a whole matrix": (changed("base_model.model.model.layers.0.self_attn.q_proj.weight", ones(8, 16)), "no part of"),
    "a bias": (changed(Q.format("B").replace("weight", "bias"), ones(8)), "no part of"),
    "a vector of sizes": (changed(Q.format("A").replace("lora_A.weight", "lora_magnitude_vector"), ones(8)), "no part"),
    "an embedding": (changed("base_model.model.model.embed_tokens.lora_embedding_A", ones(4, 258)), "no part of"),
    "a named adapter": (changed(Q.format("A").replace(".weight", ".default.weight"), ones(4, 16)), "no part of"),
    "one twice": (changed(Q.format("A").removeprefix("base_model.model."), ones(4, 16)), "twice"),
    "an unknown module": (changed("base_model.model.lm_head.lora_A.weight", ones(4, 16)), "one half is missing"),
    "another rank": (lambda t: t.update({Q.format("A"): ones(2, 16), Q.format("B"): ones(8, 2)}), "the rank is 2"),
    "a hidden high rank": (
        lambda t: t.update({Q.format("A"): ones(64, 16), Q.format("B"): ones(8, 64)}),
        "the rank is 64",
    ),
    "halves that don't fit": (changed(Q.format("B"), ones(8, 3)), "don't fit each other"),
    "too narrow": (changed(Q.format("A"), ones(4, 15)), "the base has 16 and 8"),
    "too wide": (changed(Q.format("B"), ones(9, 4)), "the base has 16 and 8"),
    "the wrong way round": (
        lambda t: t.update({Q.format("A"): ones(16, 4), Q.format("B"): ones(4, 8)}),
        "don't fit each other",
    ),
    "one dimension": (changed(Q.format("A"), ones(64)), "don't fit each other"),
    "three dimensions": (changed(Q.format("A"), ones(4, 16, 1)), "don't fit each other"),
    "no dimension": (changed(Q.format("A"), ones()), "don't fit each other"),
    "empty": (lambda t: t.update({Q.format("A"): ones(0, 16), Q.format("B"): ones(8, 0)}), "don't fit each other"),
    "whole numbers": (changed(Q.format("A"), ones(4, 16, kind="int8")), "is of I8"),
    "doubles": (changed(Q.format("A"), ones(4, 16, kind="float64")), "is of F64"),
    "NaN": (changed(Q.format("A"), with_one(numpy.nan)), "not finite"),
    "infinity": (changed(Q.format("A"), with_one(numpy.inf)), "not finite"),
    "NaN in half precision": (changed(Q.format("A"), with_one(numpy.nan, "float16")), "not finite"),
    "minus infinity in half precision": (changed(Q.format("A"), with_one(-numpy.inf, "float16")), "not finite"),
}


@pytest.mark.parametrize(("change", "told"), TENSORS.values(), ids=TENSORS)
def test_weights_that_are_refused(tmp_path: Path, change: Callable[[dict[str, Any]], Any], told: str) -> None:
    tensors = random_tensors()
    change(tensors)
    message = refusal(write_adapter(tmp_path / "it", tensors).parent)
    assert message.startswith("adapter_model.safetensors: ")
    assert told in message


@pytest.mark.parametrize(
    "module", ["model.layers.2.self_attn.q_proj", "model.layers.0.mlp.up_proj", "lm_head", "q_proj"]
)
def test_modules_that_the_base_lacks(tmp_path: Path, module: str) -> None:
    root = write_adapter(tmp_path / "it", random_tensors({module: (16, 8)})).parent
    assert refusal(root) == f"adapter_model.safetensors: {module}: the base has no such module."


def test_bfloat16_that_is_not_finite(tmp_path: Path) -> None:
    tensors = random_tensors()
    tensors[Q.format("A")][0, 0] = numpy.nan
    assert "not finite" in refusal(as_bfloat16(tmp_path, tensors))


def as_bfloat16(root: Path, tensors: dict[str, Any]) -> Path:
    """The root of an adapter of these numbers. numpy doesn't know bfloat16: the upper halves of float32."""
    folder = write_adapter(root / "it")
    header, data = {}, b""
    for name, values in tensors.items():
        raw = (values.view(numpy.uint32) >> 16).astype(numpy.uint16).tobytes()
        header[name] = {"dtype": "BF16", "shape": values.shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    (folder / "adapter_model.safetensors").write_bytes(safetensors_file(header, data))
    return root


def safetensors_file(header: dict[str, Any], data: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(start: int, end: int, *shape: int) -> dict[str, Any]:
    return {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}


FILES: dict[str, bytes] = {
    "nothing": b"",
    "a few bytes": b"\0\0",
    "no header": struct.pack("<Q", 0),
    "a header that never ends": struct.pack("<Q", 2**63) + b"{}",
    "a header of the file's length": struct.pack("<Q", 10**6) + b"{}",
    "a header that is no JSON": struct.pack("<Q", 4) + b"{{{{",
    "a header that is a list": struct.pack("<Q", 2) + b"[]",
    "a header that is nested": struct.pack("<Q", 10_000) + b"[" * 10_000,
    "a pickle": b"\x80\x04cos\nsystem\n(S'touch /tmp/pwned'\ntR.",
    "a zip": b"PK\x03\x04" + bytes(100),
    "HTML": b"<!DOCTYPE html><html>" + bytes(100),
    "a pointer of Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    "cut off": safetensors_file({Q.format("A"): entry(0, 256, 4, 16)}, bytes(255)),
    "more than it says": safetensors_file({Q.format("A"): entry(0, 256, 4, 16)}, bytes(300)),
    "overlapping": safetensors_file(
        {Q.format("A"): entry(0, 256, 4, 16), Q.format("B"): entry(128, 256, 8, 4)}, bytes(256)
    ),
    "backwards": safetensors_file({Q.format("A"): entry(256, 0, 4, 16)}, bytes(256)),
    "negative": safetensors_file({Q.format("A"): entry(-256, 0, 4, 16)}, bytes(256)),
    "a shape that overflows": safetensors_file({Q.format("A"): entry(0, 256, 2**40, 2**40)}, bytes(256)),
    "a shape of another size": safetensors_file({Q.format("A"): entry(0, 256, 4, 4)}, bytes(256)),
    "an unknown kind": safetensors_file({Q.format("A"): entry(0, 256, 4, 16) | {"dtype": "F7"}}, bytes(256)),
}


@pytest.mark.parametrize("data", FILES.values(), ids=FILES)
def test_what_is_no_safetensors_file(tmp_path: Path, data: bytes) -> None:
    (write_adapter(tmp_path / "it") / "adapter_model.safetensors").write_bytes(data)
    assert refusal(tmp_path).startswith("adapter_model.safetensors: It ")


def test_weights_that_are_larger_than_any_adapter_of_the_base(tmp_path: Path) -> None:
    with (write_adapter(tmp_path / "it") / "adapter_model.safetensors").open("r+b") as file:
        file.truncate(2**40)  # nothing of it is on the disk, nor ever read
    assert re.search("has 1099511627776 bytes; at most", refusal(tmp_path))


@pytest.mark.parametrize("pickle", ["adapter_model.bin", "adapter_model.pt"])
def test_pickles(tmp_path: Path, pickle: str) -> None:
    folder = write_adapter(tmp_path / "it")
    (folder / "adapter_model.safetensors").rename(folder / pickle)
    assert "pickles are not taken" in refusal(tmp_path)


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_missing_files(tmp_path: Path, name: str) -> None:
    (write_adapter(tmp_path / "it") / name).unlink()
    assert refusal(tmp_path) == f"{name} is missing."


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("chat_template.jinja", b"\xff"),
        ("chat_template.jinja", b"x" * 300_000),
        ("tokenizer_config.json", b"\xff"),
        ("tokenizer_config.json", b"{"),
        ("tokenizer_config.json", b"[]"),
        ("tokenizer_config.json", b"[" * 100_000),
        ("tokenizer_config.json", b'{"chat_template": 1}'),
    ],
    ids=lambda value: ascii(value[:20]),
)
def test_templates_that_are_no_text(tmp_path: Path, name: str, data: bytes) -> None:
    (write_adapter(tmp_path / "it") / name).write_bytes(data)
    assert refusal(tmp_path).startswith(name)


def test_the_host_has_the_modules_that_adapters_are_made_for() -> None:
    assert HOST.modules is not None
    assert SCRIPTED_MODULES.items() <= dict(HOST.modules).items()
    assert adapter_config()["r"] <= HOST.rank
