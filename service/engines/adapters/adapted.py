"""A model with an adapter: a model of its own for callers, run by the engine of its base."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from prometheus_client.metrics_core import Metric

from service.api.models import Model, ModelState, ModelType, Registration
from service.api.tools import ToolPromptFormat
from service.engines.adapters.files import AdapterFiles, AdapterSource
from service.engines.base import Adapter, Capacity, GenerationRequest, GenerationStep, LanguageEngine
from service.errors import EngineFailed, InferwireError, ModelNotLoadable
from service.prompts.renderer import Renderer
from service.telemetry.calls import Call

logger = logging.getLogger(__name__)


class AdaptedEngine:
    """Serves one registration; what it doesn't know itself, its base does. See engines.base.LanguageEngine."""

    model_type = ModelType.LLM

    def __init__(
        self, base: LanguageEngine, registration: Registration, source: AdapterSource, digest: str | None = None
    ) -> None:
        """`digest` is that of the files that were registered; None takes those that are there."""
        self.base = base
        self.registration = registration
        self.identifier = registration.model_id
        self.digest = digest
        self.failure: ModelNotLoadable | None = None
        self.idle = asyncio.Event()
        """Set while no call holds it."""
        self.idle.set()
        self._source = source
        self._adapter: Adapter | None = None
        self._renderer: Renderer | None = None
        self._turn = asyncio.Lock()
        self._withdrawn = False
        self._holders = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.base, name)

    @property
    def ready(self) -> bool:
        return self.base.ready and self._adapter is not None and self.base.has_adapter(self._adapter)

    @property
    def model(self) -> Model:
        own: dict[str, Any] = {
            "identifier": self.identifier,
            "provider_resource_id": self.registration.provider_model_id,
            "base_model_id": self.base.identifier,
            "metadata": self.registration.metadata | self.base.model.metadata,
            "state": self._state,
        }
        if self._renderer is not None:
            can_chat, reasoning = self._renderer.can_chat, self._renderer.reasoning
            formats = tuple(ToolPromptFormat) if can_chat else ()
            own["capabilities"] = self.base.model.capabilities.model_copy(
                update={
                    "chat": can_chat,
                    "tool_prompt_formats": formats,
                    "reasoning": reasoning is not None,
                    "reasoning_switch": reasoning is not None and reasoning.switch is not None,
                }
            )
        own["limits"] = self.base.model.limits.model_copy(update={"max_adapters": 0, "max_lora_rank": 0})
        return self.base.model.model_copy(update=own)

    @property
    def _state(self) -> ModelState:
        if self.ready:
            return ModelState.READY
        base = self.base.model.state
        base_failed = base is ModelState.FAILED or (base is ModelState.READY and not self.base.ready)
        return ModelState.FAILED if self.failure or base_failed else ModelState.LOADING

    @property
    def renderer(self) -> Renderer:
        return self._renderer or self.base.renderer

    @property
    def capacity(self) -> Capacity:
        return self.base.capacity

    @property
    def cache_usage(self) -> float:
        return self.base.cache_usage

    def own_metrics(self) -> Iterable[Metric]:
        """The base tells them."""
        return ()

    def hold(self, call: Call) -> None:
        """Keeps the adapter in the engine until the call has ended."""
        self._holders += 1
        self.idle.clear()
        call.at_end(self._let_go)

    def _let_go(self) -> None:
        self._holders -= 1
        if not self._holders:
            self.idle.set()

    async def load(self) -> None:
        """Changes nothing where it is loaded already. Raises ModelNotLoadable, InvalidField and EngineFailed."""
        async with self._turn:
            if self._withdrawn or self.ready:
                return
            try:
                await self._load()
                self.failure = None
            except EngineFailed:
                raise
            except InferwireError as error:
                self.failure = ModelNotLoadable(f"The adapter {self.identifier!r} can't be loaded. {error}")
                raise error if not isinstance(error, ModelNotLoadable) else self.failure from error

    async def check_files(self) -> bool:
        """Whether the files are those that were registered. Raises ModelNotLoadable and InvalidField."""
        return (await self._read()).digest == self.digest

    async def unload(self) -> None:
        """Frees its memory, for good. No call may hold it any longer."""
        self._withdrawn = True
        async with self._turn:
            if self._adapter is not None:
                with suppress(EngineFailed):  # what it held is gone with the engine
                    await self.base.unload_adapter(self._adapter)

    async def _read(self) -> AdapterFiles:
        path = self.registration.provider_model_id
        return await asyncio.to_thread(self._source.read, path, self.base.adapter_host)

    async def _load(self) -> None:
        files = await self._read()
        if self.digest not in (None, files.digest):
            raise ModelNotLoadable("Its files have changed since it was registered: register it anew.")
        renderer = await asyncio.to_thread(_own_renderer, self.base.renderer, files)
        # The engine reuses what it has computed by this name: other contents must never go by it.
        adapter = Adapter(f"{self.identifier}@{files.digest}", files.folder)
        await self.base.load_adapter(adapter)
        self._renderer, self._adapter, self.digest = renderer, adapter, files.digest

    def generate(self, request: GenerationRequest) -> AsyncGenerator[GenerationStep, None]:
        return self.base.generate(replace(request, adapter=self._adapter))


def _own_renderer(base: Renderer, files: AdapterFiles) -> Renderer | None:
    """With the adapter's chat template; None where it has none. Raises ModelNotLoadable."""
    if files.tokenizer is not None:
        try:
            same = base.tokenizer.same_tokens_as(files.tokenizer)
        except ValueError as error:
            raise ModelNotLoadable(f"tokenizer.json: {error}") from None
        if not same:
            raise ModelNotLoadable("tokenizer.json: Its tokens are not the base's.")
    if files.chat_template is None:
        return None
    renderer = base.with_chat_template(files.chat_template)
    try:
        renderer.try_chat_template()
    except Exception as error:  # whatever a template can do wrong
        raise ModelNotLoadable(f"Its chat template doesn't work: {error}") from error
    return renderer
