"""The bundled models: what is written, when it is written again, and that it answers."""

import json
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from service import demo_models
from service.demo_models import (
    MissingDemoPackage,
    default_cache_dir,
    prepare_embedding_model,
    prepare_language_model,
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def language_model(cache: Path) -> Path:
    return prepare_language_model(cache)


@pytest.fixture
def fake_unpack(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Stands in for the unpacking, and records where it was asked to write."""
    calls: list[Path] = []

    def unpack(source: Path, folder: Path) -> None:
        calls.append(folder)
        folder.mkdir()
        (folder / "config.json").write_text(source.name)

    monkeypatch.setattr(demo_models, "_unpack", unpack)
    return calls


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"INFERWIRE_CACHE": "/a", "XDG_CACHE_HOME": "/b", "HOME": "/c"}, "/a"),
        ({"INFERWIRE_CACHE": "~/a", "HOME": "/c"}, "/c/a"),
        ({"XDG_CACHE_HOME": "/b", "HOME": "/c"}, "/b/inferwire"),
        ({"XDG_CACHE_HOME": "", "HOME": "/c"}, "/c/.cache/inferwire"),
    ],
)
def test_cache_dir(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: str) -> None:
    for name in ("INFERWIRE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert default_cache_dir() == Path(expected)


def test_second_call_writes_nothing(tmp_path: Path, fake_unpack: list[Path]) -> None:
    first = prepare_language_model(tmp_path)
    assert prepare_language_model(tmp_path) == first == tmp_path / "models" / "SmolLM2-135M-Instruct"
    assert len(fake_unpack) == 1
    assert not fake_unpack[0].exists(), "it is written elsewhere and moved"


@pytest.mark.parametrize("marker", ['{"recipe": 0}', "{", None])
def test_stale_cache_is_redone(tmp_path: Path, fake_unpack: list[Path], marker: str | None) -> None:
    model = tmp_path / "models" / "SmolLM2-135M-Instruct"
    model.mkdir(parents=True)
    (model / "left-over").touch()
    if marker is not None:
        (model / "prepared-from.json").write_text(marker)
    prepare_language_model(tmp_path)
    assert len(fake_unpack) == 1
    assert not (model / "left-over").exists()


def test_failure_leaves_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unpack(source: Path, folder: Path) -> None:
        folder.mkdir()
        raise RuntimeError("disk full")

    monkeypatch.setattr(demo_models, "_unpack", unpack)
    with pytest.raises(RuntimeError, match="disk full"):
        prepare_language_model(tmp_path)
    assert [path.name for path in (tmp_path / "models").iterdir() if path.is_dir()] == []


def _prepare_and_count(cache: Path, log: Path) -> None:
    def unpack(source: Path, folder: Path) -> None:
        folder.mkdir()
        with log.open("a") as lines:
            lines.write(f"{os.getpid()}\n")

    demo_models._unpack = unpack
    prepare_language_model(cache)


def test_two_processes_unpack_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=_prepare_and_count, args=(tmp_path, log)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert len(log.read_text().splitlines()) == 1


@pytest.mark.parametrize("prepare", [prepare_language_model, prepare_embedding_model])
def test_missing_package_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prepare: Callable[[Path], Path]
) -> None:
    monkeypatch.setattr(demo_models, "find_spec", lambda _: None)
    with pytest.raises(MissingDemoPackage, match=r"inferwire\[cpu,demo\]"):
        prepare(tmp_path)


@pytest.mark.real_model
def test_prepared_model_needs_no_torch(cache: Path, language_model: Path) -> None:
    program = (
        "import sys, pathlib; from service.demo_models import *\n"
        "print(prepare_language_model(pathlib.Path(sys.argv[1])), prepare_embedding_model(pathlib.Path(sys.argv[1])))\n"
        "print(sorted({'torch', 'transformers'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program, str(cache)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0].split()[0] == str(language_model)
    assert done.stdout.splitlines()[1] == "[]"


@pytest.mark.real_model
def test_unpacked_settings_are_the_original_ones(language_model: Path) -> None:
    config = json.loads((language_model / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert config["dtype"] == "bfloat16"
    assert config["max_position_embeddings"] == 8192
    assert config["rms_norm_eps"] == 1e-05
    assert config["rope_parameters"]["rope_theta"] == 100000
    assert config["tie_word_embeddings"] is True
    assert "quantization_config" not in config
    generation = json.loads((language_model / "generation_config.json").read_text())
    assert (generation["bos_token_id"], generation["eos_token_id"], generation["pad_token_id"]) == (1, 2, 2)
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in language_model.iterdir())


@pytest.mark.real_model
def test_tokenizer_is_the_original_one(language_model: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(language_model)
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<|im_start|>", "<|im_end|>")
    assert (tokenizer.pad_token, tokenizer.unk_token) == ("<|im_end|>", "<|endoftext|>")
    assert tokenizer.model_max_length == 8192
    assert tokenizer.convert_tokens_to_ids(["<|endoftext|>", "<|im_start|>", "<|im_end|>"]) == [0, 1, 2]
    rendered = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True
    )
    assert rendered.startswith("<|im_start|>system\n")
    assert rendered.endswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")
    # Spaces before a number stay together, since digits are split off before anything else.
    assert tokenizer.tokenize("in  2026") == ["in", "ĠĠ", "2", "0", "2", "6"]
    assert tokenizer.decode(tokenizer.encode("Don't , ever!")) == "Don't , ever!"


@pytest.mark.real_model
def test_language_model_answers(language_model: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(language_model)
    model = AutoModelForCausalLM.from_pretrained(language_model)
    question = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(question, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    output = model.generate(**prompt, do_sample=False, max_new_tokens=32)[0, prompt["input_ids"].shape[1] :]
    assert output[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(output, skip_special_tokens=True) == "The capital of France is Paris."


@pytest.mark.real_model
def test_embedding_model_is_whole(tmp_path: Path) -> None:
    model = prepare_embedding_model(tmp_path)
    assert {"config.json", "model.safetensors", "modules.json", "tokenizer.json"} <= {
        path.name for path in model.iterdir()
    }
    assert list(tmp_path.iterdir()) == []
