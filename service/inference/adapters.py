"""Adapters: registering one, so that it is served as a model of its own, and taking it out again.

What is done about one model is done in turn, and in tasks of its own: a caller who goes away leaves it going on, and
learns what became of it by asking again.
"""

import asyncio
import json
import logging
import re
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from service.api.models import Model, Registration
from service.engines.adapters.adapted import AdaptedEngine
from service.engines.adapters.files import AdapterSource
from service.engines.adapters.folder import plain_path
from service.engines.adapters.records import Record, Records
from service.engines.base import Engine, LanguageEngine
from service.engines.registry import Registry
from service.errors import (
    Draining,
    EngineFailed,
    InferwireError,
    InternalError,
    InvalidField,
    ModelExists,
    ModelNotLoadable,
    ModelNotRemovable,
)
from service.telemetry.calls import Call

logger = logging.getLogger(__name__)

MODEL_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,127}")
METADATA_BYTES = 16 * 1024
TOLD_BY_THE_SERVER = {"context_length", "embedding_dimension", "waiting_for"}
DRAINING_RETRY_S = 0.1


@dataclass(frozen=True, slots=True)
class _Work:
    """What is being done about one model; `wanted` is what is being registered, None where it is taken out."""

    wanted: Registration | None
    task: "asyncio.Task[None]"


class Adapters:
    """The registered models of a server."""

    def __init__(
        self,
        registry: Registry,
        source: AdapterSource | None,
        records: Records | None,
        *,
        draining: Callable[[], bool] = lambda: False,
        announced: Callable[[str], None] = lambda model_id: None,
    ) -> None:
        """Without a source none can be registered. `announced` is told the name of each, before it is served."""
        self._registry = registry
        self._source = source
        self._records = records
        self._draining = draining
        self._announced = announced
        self._work: dict[str, _Work] = {}
        self._in_engines: set[AdaptedEngine] = set()
        """Those that have a place in their engine, or are about to get it."""
        self._recall()

    async def register(self, wanted: Registration, call: Call) -> Model:
        """Returns once it is served."""
        self._check_open()
        self._registry.check_use(wanted.model_id, call)
        if self._source is None:
            raise ModelNotLoadable("This server takes no adapters: its setting adapters.root is not set.")
        base = self._registry.base_engine(wanted.base_model_id, call)
        wanted = _checked(wanted, base)
        if self._registry.configured(wanted.model_id):
            raise _exists(wanted.model_id)
        await self._turn(wanted.model_id, wanted, lambda: self._add(wanted, base))
        return self._registry.model(wanted.model_id, call)

    async def unregister(self, model_id: str, call: Call) -> None:
        """Returns once its calls have ended and its memory is free."""
        self._check_open()
        self._registry.check_use(model_id, call)
        if self._registry.configured(model_id):
            raise ModelNotRemovable(f"The model {model_id!r} belongs to the server's configuration.")
        if not (self._registry.adapted(model_id) or model_id in self._work or self._is_recorded(model_id)):
            raise self._registry.not_found(model_id, call)
        await self._turn(model_id, None, lambda: self._remove(model_id, call))

    async def restore(self, base: Engine) -> None:
        """Loads the adapters of an engine that was started. One that can't be loaded harms no other."""
        for engine in self._registry.adapters_of(base):
            try:
                await engine.load()
            except EngineFailed as error:
                logger.error("The adapter %s could not be loaded: %s", engine.identifier, error)
            except InferwireError as error:
                logger.error("%s", engine.failure or error)
            except Exception:
                engine.failure = ModelNotLoadable(f"The adapter {engine.identifier!r} can't be loaded.")
                logger.exception("The adapter %s could not be loaded", engine.identifier)

    async def close(self) -> None:
        """Gives up what is under way, and the file of registrations."""
        tasks = [work.task for work in self._work.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._records:
            self._records.close()

    def _recall(self) -> None:
        """The registrations of earlier runs: served once their bases have loaded."""
        for record in self._records.all() if self._records and self._source else ():
            registration = record.registration
            base = self._registry.configured(registration.base_model_id)
            if base is None or self._registry.configured(registration.model_id):
                logger.error(
                    "The adapter %s of %s is kept, and not served: there is no such base, or another model of its name",
                    registration.model_id,
                    registration.base_model_id,
                )
                continue
            engine = AdaptedEngine(base, registration, self._source, record.digest)  # type: ignore[arg-type]
            self._in_engines.add(engine)
            self._announce(engine)

    async def _turn(
        self, model_id: str, wanted: Registration | None, work: Callable[[], Coroutine[Any, Any, None]]
    ) -> None:
        """Does it when nothing else is being done about the model, or joins those who do the same."""
        while under_way := self._work.get(model_id):
            if under_way.wanted == wanted:
                await asyncio.shield(under_way.task)
                return
            if wanted and under_way.wanted:
                raise _exists(model_id)
            # How the other one ends is for its own caller.
            await asyncio.wait((under_way.task,))
        task = asyncio.create_task(work())
        self._work[model_id] = _Work(wanted, task)
        task.add_done_callback(lambda ended: self._ended(model_id, ended))
        await asyncio.shield(task)

    def _ended(self, model_id: str, task: "asyncio.Task[None]") -> None:
        del self._work[model_id]
        if not task.cancelled() and (error := task.exception()):
            # Its caller may be gone.
            logger.info("What was asked for %s could not be done: %s", model_id, error)

    async def _add(self, wanted: Registration, base: LanguageEngine) -> None:
        existing = self._registry.adapted(wanted.model_id)
        if existing and not existing.failure:
            await _check_same(existing, wanted)
            await existing.load()
            return
        self._check_room(base, besides=existing)
        assert self._source is not None
        engine = AdaptedEngine(base, wanted, self._source)
        self._in_engines.add(engine)
        try:
            await engine.load()
            await self._keep(engine)
        except BaseException:
            await engine.unload()
            self._in_engines.discard(engine)
            raise
        if existing:
            self._in_engines.discard(existing)
        self._announce(engine)
        logger.info("Registered %s, an adapter of %s", wanted.model_id, wanted.base_model_id)
        # The engine may have been started again before it was known that this one belongs to it.
        await engine.load()

    async def _remove(self, model_id: str, call: Call) -> None:
        """It is gone from the file first: ended in the midst, the server wouldn't bring it back."""
        engine = self._registry.adapted(model_id)
        recorded = self._records is not None and await _written(asyncio.to_thread(self._records.remove, model_id))
        if engine is None:
            if not recorded:
                raise self._registry.not_found(model_id, call)
            return
        self._registry.remove(engine)
        await engine.idle.wait()
        await engine.unload()
        self._in_engines.discard(engine)
        logger.info("Unregistered %s", model_id)

    def _announce(self, engine: AdaptedEngine) -> None:
        self._announced(engine.identifier)
        self._registry.add(engine)

    async def _keep(self, engine: AdaptedEngine) -> None:
        if self._records:
            record = Record(registration=engine.registration, digest=engine.digest or "")
            await _written(asyncio.to_thread(self._records.put, record))

    def _check_open(self) -> None:
        if self._draining():
            raise Draining("The server is shutting down.", retry_after_s=DRAINING_RETRY_S)

    def _check_room(self, base: LanguageEngine, besides: AdaptedEngine | None) -> None:
        most = base.adapter_host.most
        if not most:
            raise ModelNotLoadable(f"The model {base.identifier!r} takes no adapters: its max_adapters is 0.")
        there = sum(engine.base is base for engine in self._in_engines if engine is not besides)
        if there >= most:
            raise ModelNotLoadable(f"The model {base.identifier!r} has {there} adapters; its max_adapters is {most}.")

    def _is_recorded(self, model_id: str) -> bool:
        return self._records is not None and any(
            record.registration.model_id == model_id for record in self._records.all()
        )


def _checked(wanted: Registration, base: LanguageEngine) -> Registration:
    """Raises InvalidField."""
    if not MODEL_ID.fullmatch(wanted.model_id):
        raise InvalidField(
            "model_id", "It has 1 to 128 letters, digits and ._:/@+- only, and begins with a letter or digit."
        )
    if wanted.provider_id not in (None, base.model.provider_id):
        raise InvalidField("provider_id", f"The base is run by {base.model.provider_id!r}; leave it unset.")
    for name in wanted.metadata:
        if name in TOLD_BY_THE_SERVER or name in base.model.metadata:
            raise InvalidField(f"metadata.{name}", "The server tells this itself.")
    if len(json.dumps(wanted.metadata)) > METADATA_BYTES:
        raise InvalidField("metadata", f"It may have {METADATA_BYTES} bytes as JSON.")
    plain = plain_path(wanted.provider_model_id)
    return wanted.model_copy(update={"provider_model_id": plain, "provider_id": None})


async def _check_same(existing: AdaptedEngine, wanted: Registration) -> None:
    """Raises ModelExists."""
    if existing.registration != wanted:
        raise _exists(wanted.model_id)
    if not await existing.check_files():
        raise ModelExists(
            f"The model {wanted.model_id!r} is registered, and its files have changed since. Unregister it first.",
            metadata={"model": wanted.model_id},
        )


def _exists(model_id: str) -> ModelExists:
    return ModelExists(f"There is another model {model_id!r}.", metadata={"model": model_id})


async def _written(writing: Awaitable[Any]) -> Any:
    try:
        return await writing
    except OSError as error:
        raise InternalError("The registration could not be written.") from error
