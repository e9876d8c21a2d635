"""The adapters of one engine, by vLLM's own names and numbers (vLLM 0.32).

vLLM would load an adapter also with the first request that names it, and die where it can't: here none is named before
it was loaded. It never leaves one out either, as it has room for as many as there may be (`max_cpu_loras`).
"""

import logging
from collections.abc import Mapping
from contextlib import suppress
from itertools import count

import torch
import transformers
from vllm.lora.request import LoRARequest

from service.engines.adapters.config import host_names
from service.engines.base import NO_ADAPTERS, Adapter, AdapterHost
from service.engines.vllm.core import RETRY_AFTER_FAILURE_S, EngineCore
from service.errors import EngineFailed, InferwireError, ModelNotLoadable
from service.settings import ModelSettings

logger = logging.getLogger(__name__)


class LoadedAdapters:
    """Those that the engine has loaded since it was started."""

    def __init__(self, core: EngineCore) -> None:
        self._core = core
        self._requests: dict[str, LoRARequest] = {}
        # vLLM takes an adapter for another one of the same number, for as long as the engine lives.
        self._numbers = count(1)

    def forget(self) -> None:
        """The engine is started anew, with none."""
        self._requests = {}

    def request(self, adapter: Adapter) -> LoRARequest | None:
        return self._requests.get(adapter.name)

    def required(self, adapter: Adapter | None) -> LoRARequest | None:
        """What a generation with it needs. Raises EngineFailed where the engine hasn't got it any longer."""
        request = self.request(adapter) if adapter else None
        if adapter and request is None:
            raise EngineFailed("The engine has lost the adapter.", retry_after_s=RETRY_AFTER_FAILURE_S)
        return request

    async def load(self, adapter: Adapter) -> None:
        requests, engine = self._requests, self._core.engine
        request = LoRARequest(adapter.name, next(self._numbers), str(adapter.folder))
        try:
            await self._core.answered(engine.add_lora(request))
        except InferwireError:
            raise
        except Exception as error:
            # One that was read, and failed after that, would keep its place.
            with suppress(Exception):
                await self._core.answered(engine.remove_lora(request.lora_int_id))
            logger.warning("vLLM can't load the adapter %s: %s", adapter.name, error)
            raise ModelNotLoadable(f"The engine refuses it: {_reason(error, adapter)}") from error
        requests[adapter.name] = request

    async def unload(self, adapter: Adapter) -> None:
        request = self._requests.pop(adapter.name, None)
        if request is not None:
            await self._core.answered(self._core.engine.remove_lora(request.lora_int_id))


def _reason(error: Exception, adapter: Adapter) -> str:
    """What vLLM says, without the server's own folders."""
    text = str(error).removeprefix("Call to add_lora method failed: ").strip()
    return text.replace(str(adapter.folder), "the adapter").replace(str(adapter.folder.parent), "...")


def adapter_host(settings: ModelSettings) -> AdapterHost:
    """What the model takes; slow."""
    if not settings.max_adapters:
        return NO_ADAPTERS
    names, modules = _described(settings)
    return AdapterHost(
        settings.max_adapters,
        settings.max_lora_rank,
        host_names(settings.path, settings.id, *names),
        modules,
    )


def _described(settings: ModelSettings) -> tuple[list[str], Mapping[str, tuple[int, int]] | None]:
    """Other names of the model, and its modules as its training knows them: from its configuration, without weights."""
    try:
        revision = settings.engine_args.get("revision") or "main"
        config = transformers.AutoConfig.from_pretrained(settings.path, revision=revision)
        kind = getattr(transformers, (config.architectures or [""])[0])
        with torch.device("meta"):
            model = kind(config)
    except Exception:
        # Code of the model's own, or a kind that only vLLM knows: it checks them itself.
        logger.info("The modules of %s are not known: adapters are checked by the engine only", settings.id)
        return [], None
    shapes = {
        name: (module.in_features, module.out_features)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear)
    }
    return [getattr(config, "_name_or_path", "")], shapes or None
