"""vLLM, in this process's event loop with its core in a process of its own. The only room that imports vllm."""

import os
from functools import cache
from tempfile import TemporaryDirectory

from service.api.models import ModelType
from service.engines.base import Engine
from service.engines.vllm.core import EngineHost
from service.engines.vllm.embedding import VllmEmbeddingEngine
from service.engines.vllm.language import VllmLanguageEngine
from service.engines.vllm.scoring import VllmScoringEngine
from service.settings import ModelSettings, Settings


def build(model: ModelSettings, settings: Settings) -> Engine:
    """The engine for one model of `settings`, not loaded yet."""
    # Here and not where engines are loaded, which happens in several threads at once.
    os.environ.setdefault("VLLM_RPC_BASE_PATH", _socket_folder().name)
    host = EngineHost(
        models=len(settings.models),
        workers=max(model.layout.workers for model in settings.models),
        grace_s=settings.server.grace_s,
        stall_timeout_s=settings.engine.stall_timeout_s,
        longest_hold_s=settings.server.longest_hold_ms / 1000,
        own_metrics=settings.metrics.address is not None and settings.metrics.engine,
        traces_endpoint=settings.traces.receiver,
    )
    limits = model.limits_within(settings.limits)
    if model.type is ModelType.LLM:
        return VllmLanguageEngine(model, limits, host)
    if model.type is ModelType.SCORING:
        return VllmScoringEngine(model, limits, host)
    return VllmEmbeddingEngine(model, limits, host)


@cache
def _socket_folder() -> TemporaryDirectory[str]:
    """For the sockets between the server and its engines, which vLLM leaves behind. Removed when the process ends."""
    return TemporaryDirectory(prefix="inferwire-")
