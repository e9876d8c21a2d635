"""Settings: where they come from, which source wins, and what is refused."""

import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from service.api.models import ModelType
from service.settings import EngineKind, ModelSettings, Settings, load_settings


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("INFERWIRE_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "inferwire.yaml"


def model(**fields: Any) -> dict[str, Any]:
    return {"path": "org/name", **fields}


def test_without_any_source_the_defaults_hold() -> None:
    assert load_settings().model_dump() == Settings().model_dump()
    assert load_settings().server.address == "127.0.0.1:50051"


def test_a_file_beats_the_defaults(file: Path) -> None:
    file.write_text("server: {grace_s: 5}\nlog: {level: debug}\nmodels:\n- {path: org/name, type: embedding}\n")
    settings = load_settings(file)
    assert (settings.server.grace_s, settings.log.level) == (5, "debug")
    assert settings.models == (ModelSettings(path="org/name", type=ModelType.EMBEDDING),)
    assert settings.server.reflection is True


def test_the_environment_beats_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("server: {grace_s: 5, address: 'unix:/tmp/a'}")
    monkeypatch.setenv("INFERWIRE_SERVER__GRACE_S", "6")
    settings = load_settings(file)
    assert (settings.server.grace_s, settings.server.address) == (6, "unix:/tmp/a")


def test_flags_beat_both(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("server: {grace_s: 5, reflection: false}\nlimits: {max_messages: 9}")
    monkeypatch.setenv("INFERWIRE_SERVER__GRACE_S", "6")
    monkeypatch.setenv("INFERWIRE_LIMITS__MAX_CONTENTS", "7")
    settings = load_settings(file, {"server": {"grace_s": 7.5}})
    assert (settings.server.grace_s, settings.server.reflection) == (7.5, False)
    assert (settings.limits.max_messages, settings.limits.max_contents) == (9, 7)


def test_an_empty_file_says_nothing(file: Path) -> None:
    file.write_text("")
    assert load_settings(file).model_dump() == Settings().model_dump()


def test_a_missing_file_is_told(file: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"inferwire\.yaml"):
        load_settings(file)


@pytest.mark.parametrize(
    "flags",
    [
        {"sever": {}},
        {"server": {"grace": 1}},
        {"server": {"grace_s": -1}},
        {"server": {"grace_s": "soon"}},
        {"limits": {"max_request_bytes": 1}},
        {"limits": {"max_messages": 0}},
        {"log": {"level": "loud"}},
        {"models": [{}]},
        {"models": [model(path="")]},
        {"models": [model(type="vision")]},
        {"models": [model(engine="other")]},
        {"models": [model(device="gpu")]},
    ],
    ids=str,
)
def test_what_is_misspelt_or_out_of_range_is_refused(flags: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        load_settings(None, flags)


@pytest.mark.parametrize("text", ["sever: {}", "server: {grace: 1}", "models: [{path: a, device: gpu}]"])
def test_so_is_what_a_file_misspells(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(ValidationError):
        load_settings(file)


@pytest.mark.parametrize(
    ("path", "name"),
    [("org/name", "name"), ("name", "name"), ("/models/name/", "name"), ("/models/name", "name"), ("./name//", "name")],
)
def test_a_model_is_named_after_its_path(path: str, name: str) -> None:
    assert ModelSettings(path=path).id == name


def test_unless_it_has_a_name_of_its_own() -> None:
    assert ModelSettings(path="org/name", id="mine").id == "mine"


@pytest.mark.parametrize(
    "models", [[model(), model()], [model(), model(path="other/name")], [model(id="x"), model(path="a", id="x")]]
)
def test_two_models_of_one_name_are_refused(models: list[dict[str, Any]]) -> None:
    with pytest.raises(ValidationError, match=r"two models have the same id: (name|x); set `id`"):
        load_settings(None, {"models": models})


def test_models_keep_their_order_and_their_arguments(file: Path) -> None:
    file.write_text("models:\n- {path: b, engine_args: {tensor_parallel_size: 2}}\n- {path: a, engine: scripted}\n")
    first, second = load_settings(file).models
    assert (first.id, second.id) == ("b", "a")
    assert first.engine_args == {"tensor_parallel_size": 2}
    assert (first.engine, second.engine) == (EngineKind.VLLM, EngineKind.SCRIPTED)


@pytest.mark.parametrize(
    ("part", "name"), [("server", "grace_s"), ("limits", "max_messages"), ("log", "level"), (None, "models")]
)
def test_settings_are_frozen(part: str | None, name: str) -> None:
    settings = load_settings()
    with pytest.raises(ValidationError, match="frozen"):
        setattr(getattr(settings, part) if part else settings, name, 1)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"quantization": {"type": "int2"}}, "quantization.type"),
        ({"quantization": {"type": "fp8", "scheme": "int4_weight_only"}}, "none of `type: fp8`"),
        ({"quantization": {"type": "fp8"}, "engine_args": {"quantization": "fp8"}}, "engine_args.quantization"),
        (
            {"quantization": {"type": "bf16"}, "engine_args": {"quantization_config": {}}},
            "engine_args.quantization_conf",
        ),
        ({"quantization": {"type": "bf16"}, "engine_args": {"dtype": "float32"}}, "engine_args.dtype float32"),
        (
            {"quantization": {"type": "int4"}, "engine_args": {"hf_overrides": {"quantization_config": {}}}},
            "hf_overrides",
        ),
        ({"quantization": {"type": "fp8"}, "engine": "scripted"}, "scripted"),
    ],
)
def test_contradictions_about_quantisation(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told.replace(".", r"\.")):
        Settings.model_validate({"models": [model(**fields)]})


def test_a_dtype_beside_a_quantisation_that_it_does_not_contradict() -> None:
    for kind, dtype in (("bf16", "bfloat16"), ("fp8", "float16")):
        made = ModelSettings.model_validate(model(quantization={"type": kind}, engine_args={"dtype": dtype}))
        assert made.quantization
