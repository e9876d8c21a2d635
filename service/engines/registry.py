"""Which engine serves which model, and who may use it."""

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import cast

from service.api.load import ModelLoad
from service.api.models import Model, ModelState, ModelType
from service.engines.adapters.adapted import AdaptedEngine
from service.engines.admission import Admission, Bounds, Quotas
from service.engines.base import Capacity, EmbeddingEngine, Engine, LanguageEngine, ScoringEngine
from service.errors import (
    EngineFailed,
    InferwireError,
    InvalidField,
    ModelNotFound,
    ModelNotLoadable,
    ModelNotReady,
    PermissionDenied,
    WrongModelType,
)
from service.prompts.tokenizer import Tokenizer
from service.settings import AdmissionSettings, ModelSettings
from service.telemetry.calls import Call, TokenTally

RETRY_S = 5.0
TYPE_NAMES = {
    ModelType.LLM: "a language model",
    ModelType.EMBEDDING: "an embedding model",
    ModelType.SCORING: "a scoring model",
}
# No engine works for it, but cores that streams need, too. A request's tokens are guessed from its length.
TOKENIZING = Bounds(
    running_requests=max(1, len(os.sched_getaffinity(0)) // 2),
    running_tokens=sys.maxsize,
    queued_requests=256,
    queued_tokens=4_000_000,
)


class Registry:
    """The engines of this server, by the identifiers of their models.

    Nobody gets at a model but by a call, so that no way to it misses the check of whether the caller may use it. Only
    operators are told of all (`loads`).
    """

    def __init__(
        self,
        engines: Iterable[Engine],
        models: Iterable[ModelSettings] = (),
        quotas: Quotas | None = None,
    ) -> None:
        self._engines = {engine.identifier: engine for engine in engines}
        self._adapted: dict[str, AdaptedEngine] = {}
        self._settings = {model.id: model.admission for model in models}
        self._quotas = quotas or Quotas()
        self._admissions: dict[str, Admission] = {}
        self.tokenizing = Admission(TOKENIZING, self._quotas, busy="What tokenises", charged=False)
        """The places of Tokenize and Detokenize, for all models together."""
        self._tallies = {identifier: TokenTally() for identifier in self._engines}

    def models(self, call: Call) -> Sequence[Model]:
        """Those that the caller may use."""
        return [_described(engine) for engine in self._all() if call.may_use(engine.identifier)]

    def model(self, model_id: str, call: Call) -> Model:
        return _described(self._find(model_id, call))

    def engine(self, model_id: str, call: Call) -> Engine:
        """Of any type."""
        return _held(_alive(self._find(model_id, call)), call)

    def language_engine(self, model_id: str, call: Call) -> LanguageEngine:
        return cast(LanguageEngine, self._ready(model_id, (ModelType.LLM,), call))

    def embedding_engine(self, model_id: str, call: Call) -> EmbeddingEngine:
        return cast(EmbeddingEngine, self._ready(model_id, (ModelType.EMBEDDING,), call))

    def scoring_engine(self, model_id: str, call: Call) -> EmbeddingEngine | ScoringEngine:
        """One that scores; `model_type` tells which it is."""
        engine = self._ready(model_id, (ModelType.SCORING, ModelType.EMBEDDING), call)
        return cast("EmbeddingEngine | ScoringEngine", engine)

    def base_engine(self, model_id: str, call: Call) -> LanguageEngine:
        """A model that is ready, to load an adapter into."""
        engine = cast(LanguageEngine, self._usable(self._find(model_id, call), (ModelType.LLM,)))
        if isinstance(engine, AdaptedEngine):
            raise InvalidField("base_model_id", f"The model {model_id!r} is an adapter itself.")
        return engine

    def configured(self, model_id: str) -> Engine | None:
        """A model of the server's configuration."""
        return self._engines.get(model_id)

    def adapted(self, model_id: str) -> AdaptedEngine | None:
        return self._adapted.get(model_id)

    def adapters_of(self, base: Engine) -> Sequence[AdaptedEngine]:
        return [engine for engine in self._adapted.values() if engine.base is base]

    def add(self, engine: AdaptedEngine) -> None:
        """In place of another one of that name, if there is one. No configured model may have it."""
        self._adapted[engine.identifier] = engine
        self._tallies.setdefault(engine.identifier, TokenTally())

    def remove(self, engine: AdaptedEngine) -> None:
        """Calls under way keep it."""
        if self._adapted.get(engine.identifier) is engine:
            del self._adapted[engine.identifier]
            del self._tallies[engine.identifier]

    def check_use(self, model_id: str, call: Call) -> None:
        """Raises PermissionDenied before anything is told about the model, even whether there is one."""
        if not call.may_use(model_id):
            raise PermissionDenied(
                f"The identity {call.identity!r} may not use the model {model_id!r}.", metadata={"model": model_id}
            )

    def not_found(self, model_id: str, call: Call) -> ModelNotFound:
        known = sorted(engine.identifier for engine in self._all() if call.may_use(engine.identifier))
        return ModelNotFound(
            f"There is no model {model_id!r}. This server has: {', '.join(known) or 'none'}.",
            metadata={"known_models": ",".join(known)},
        )

    def admission(self, engine: Engine) -> Admission:
        """The places of an engine that is loaded, and the queue in front of them; an adapter's are its base's."""
        if isinstance(engine, AdaptedEngine):
            engine = engine.base
        known = self._admissions.get(engine.identifier)
        if known is None:
            settings = self._settings.get(engine.identifier, AdmissionSettings())
            known = Admission(_bounds(settings, engine.capacity), self._quotas)
            self._admissions[engine.identifier] = known
        return known

    def loads(self) -> Sequence[ModelLoad]:
        """How busy the models are."""
        return [self._load(engine) for engine in self._all()]

    def admissions(self) -> Mapping[str, Admission]:
        """Those of the models that are loaded, by their identifiers."""
        return {engine.identifier: self.admission(engine) for engine in self._engines.values() if engine.ready}

    def _load(self, engine: Engine) -> ModelLoad:
        # What an adapter's requests take is in its base's figures.
        admission = self.admission(engine) if engine.ready and not isinstance(engine, AdaptedEngine) else None
        tally = self._tallies[engine.identifier]
        return ModelLoad(
            model_id=engine.identifier,
            running_requests=admission.running if admission else 0,
            waiting_requests=admission.queued if admission else 0,
            cache_usage=engine.cache_usage if admission else 0.0,
            waiting_tokens=admission.queued_tokens if admission else 0,
            state=_described(engine).state,
            prompt_tokens_total=tally.prompt,
            generated_tokens_total=tally.generated,
        )

    def _all(self) -> Iterator[Engine]:
        """Adapters behind their base."""
        for engine in self._engines.values():
            yield engine
            yield from self.adapters_of(engine)

    def _find(self, model_id: str, call: Call) -> Engine:
        self.check_use(model_id, call)
        engine = self._engines.get(model_id) or self._adapted.get(model_id)
        if engine is None:
            raise self.not_found(model_id, call)
        call.model, call.tally = model_id, self._tallies[model_id]
        return engine

    def _ready(self, model_id: str, wanted_types: Sequence[ModelType], call: Call) -> Engine:
        return _held(self._usable(self._find(model_id, call), wanted_types), call)

    def _usable(self, engine: Engine, wanted_types: Sequence[ModelType]) -> Engine:
        if engine.model_type not in wanted_types:
            wanted = " or ".join(TYPE_NAMES[model_type] for model_type in wanted_types)
            raise WrongModelType(
                f"The model {engine.identifier!r} is not {wanted}.", metadata={"model_type": engine.model_type}
            )
        return _alive(engine)


def _held(engine: Engine, call: Call) -> Engine:
    """An adapter stays loaded until the call has ended."""
    if isinstance(engine, AdaptedEngine):
        engine.hold(call)
    return engine


def tokenizer_of(engine: Engine) -> Tokenizer:
    if engine.model_type is ModelType.LLM:
        return cast(LanguageEngine, engine).renderer.tokenizer
    return cast("EmbeddingEngine | ScoringEngine", engine).tokenizer


def _bounds(settings: AdmissionSettings, capacity: Capacity) -> Bounds:
    return Bounds(
        running_requests=settings.max_running_requests or capacity.requests,
        running_tokens=settings.max_running_tokens or capacity.tokens,
        queued_requests=settings.max_queued_requests,
        queued_tokens=settings.max_queued_tokens,
    )


def _described(engine: Engine) -> Model:
    """The model's description; its engine may have died since it was made."""
    model = engine.model
    if model.state is ModelState.READY and not engine.ready:
        return model.model_copy(update={"state": ModelState.FAILED})
    if waiting_for := engine.waiting_for:
        return model.model_copy(update={"metadata": {**model.metadata, "waiting_for": list(waiting_for)}})
    return model


def _alive(engine: Engine) -> Engine:
    if not engine.ready:
        raise _not_ready(engine)
    return engine


def _not_ready(engine: Engine) -> InferwireError:
    if isinstance(engine, AdaptedEngine) and engine.failure:
        return ModelNotLoadable(engine.failure.message)
    if engine.model.state is ModelState.LOADING:
        waiting = f" It waits for: {', '.join(engine.waiting_for)}." if engine.waiting_for else ""
        return ModelNotReady(f"The model {engine.identifier!r} is being loaded.{waiting}", retry_after_s=RETRY_S)
    return EngineFailed(f"The model {engine.identifier!r} is not served: its engine failed.", retry_after_s=RETRY_S)
