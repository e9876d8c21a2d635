"""Finding the engine of a model, and saying why there is none."""

import pytest

from service.api.models import ModelState
from service.engines.registry import Registry
from service.engines.scripted import ScriptedEmbeddingEngine, ScriptedLanguageEngine
from service.errors import EngineFailed, ModelNotFound, ModelNotReady, PermissionDenied, WrongModelType
from service.settings import LimitSettings
from service.telemetry.calls import Call

LIMITS = LimitSettings()
ANYBODY = Call("/test", "r-1")
FINDING = [Registry.model, Registry.language_engine, Registry.embedding_engine]


def call_of(*models: str) -> Call:
    return Call("/test", "r-1", identity="search", models=models)


@pytest.fixture
def llm() -> ScriptedLanguageEngine:
    return ScriptedLanguageEngine("llm", LIMITS)


@pytest.fixture
def embedder() -> ScriptedEmbeddingEngine:
    return ScriptedEmbeddingEngine("embedder", LIMITS)


@pytest.fixture
def registry(llm: ScriptedLanguageEngine, embedder: ScriptedEmbeddingEngine) -> Registry:
    return Registry([llm, embedder])


async def test_an_engine_is_found_by_its_model(
    registry: Registry, llm: ScriptedLanguageEngine, embedder: ScriptedEmbeddingEngine
) -> None:
    await llm.start()
    await embedder.start()
    assert registry.language_engine("llm", ANYBODY) is llm
    assert registry.embedding_engine("embedder", ANYBODY) is embedder


def test_what_a_model_waits_for_is_told_while_it_does(registry: Registry, llm: ScriptedLanguageEngine) -> None:
    llm.waiting_for = ["machine 1 (data-parallel rank 1)"]
    assert registry.model("llm", ANYBODY).metadata["waiting_for"] == llm.waiting_for
    with pytest.raises(ModelNotReady, match=r"It waits for: machine 1 \(data-parallel rank 1\)\."):
        registry.language_engine("llm", ANYBODY)
    llm.waiting_for = ()
    assert "waiting_for" not in registry.model("llm", ANYBODY).metadata


def test_models_are_told_in_the_order_of_the_settings_while_they_load(registry: Registry) -> None:
    assert [(model.identifier, model.state) for model in registry.models(ANYBODY)] == [
        ("llm", ModelState.LOADING),
        ("embedder", ModelState.LOADING),
    ]


async def test_a_model_whose_engine_died_has_failed(registry: Registry, llm: ScriptedLanguageEngine) -> None:
    await llm.start()
    assert registry.model("llm", ANYBODY).state is ModelState.READY
    llm.die()
    assert registry.model("llm", ANYBODY).state is ModelState.FAILED


@pytest.mark.parametrize("find", FINDING)
def test_an_unknown_model_is_told_with_the_known_ones(registry: Registry, find: object) -> None:
    with pytest.raises(ModelNotFound, match=r"'x'.*embedder, llm") as refused:
        find(registry, "x", ANYBODY)
    assert refused.value.metadata == {"known_models": "embedder,llm"}


def test_an_unknown_model_of_a_server_without_any_is_told_so() -> None:
    with pytest.raises(ModelNotFound, match="none"):
        Registry([]).model("x", ANYBODY)


@pytest.mark.parametrize(
    ("find", "model_id", "model_type"),
    [(Registry.language_engine, "embedder", "embedding"), (Registry.embedding_engine, "llm", "llm")],
)
def test_a_model_of_the_other_type_is_refused_loaded_or_not(
    registry: Registry, find: object, model_id: str, model_type: str
) -> None:
    with pytest.raises(WrongModelType) as refused:
        find(registry, model_id, ANYBODY)
    assert refused.value.metadata == {"model_type": model_type}


def test_a_model_that_loads_asks_for_patience(registry: Registry) -> None:
    with pytest.raises(ModelNotReady, match="being loaded") as refused:
        registry.language_engine("llm", ANYBODY)
    assert refused.value.retry_after_s


async def test_a_dead_engine_is_told_as_such(registry: Registry, llm: ScriptedLanguageEngine) -> None:
    await llm.start()
    llm.die()
    with pytest.raises(EngineFailed, match="its engine failed") as refused:
        registry.language_engine("llm", ANYBODY)
    assert refused.value.retry_after_s


def test_a_caller_sees_the_models_that_it_may_use(registry: Registry) -> None:
    for patterns, seen in {("llm",): ["llm"], ("e*",): ["embedder"], ("*",): ["llm", "embedder"], (): []}.items():
        assert [model.identifier for model in registry.models(call_of(*patterns))] == seen


@pytest.mark.parametrize("model_id", ["llm", "no-such-model"])
@pytest.mark.parametrize("find", FINDING)
def test_of_others_it_learns_nothing_not_even_whether_they_exist(
    registry: Registry, find: object, model_id: str
) -> None:
    with pytest.raises(PermissionDenied) as refused:
        find(registry, model_id, call_of("embedder"))
    assert refused.value.message == f"The identity 'search' may not use the model '{model_id}'."
    assert refused.value.metadata == {"model": model_id}


def test_nor_when_it_misspells_one_of_its_own(registry: Registry) -> None:
    with pytest.raises(ModelNotFound) as refused:
        registry.model("embedded", call_of("embed*"))
    assert refused.value.metadata == {"known_models": "embedder"}
