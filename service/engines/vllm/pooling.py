"""What models that make no text have in common on vLLM: a sequence of tokens in, one tensor out."""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from typing import Any

from prometheus_client.metrics_core import Metric
from vllm.inputs.engine import tokens_input
from vllm.pooling_params import PoolingParams

from service.api.models import Model, ModelState, ModelType
from service.engines.base import Capacity
from service.engines.vllm import quantization
from service.engines.vllm.core import EngineCore, EngineHost, loading, translated
from service.engines.vllm.language import PROVIDER_ID
from service.errors import EngineFailed
from service.prompts.tokenizer import Tokenizer
from service.settings import LimitSettings, ModelSettings
from service.telemetry.traces import trace_headers


class VllmPoolingEngine:
    """Runs one such model. See engines.base.Engine."""

    model_type: ModelType

    def __init__(self, settings: ModelSettings, limits: LimitSettings, host: EngineHost) -> None:
        self.identifier = settings.id
        self._settings = settings
        self._limits = limits
        self.core = EngineCore(settings, host)
        # All that is known before the model is loaded.
        self.model = Model(
            identifier=settings.id,
            provider_resource_id=settings.path.rstrip("/").rsplit("/", 1)[-1],
            provider_id=PROVIDER_ID,
            model_type=self.model_type,
        )
        self.tokenizer: Tokenizer

    @property
    def ready(self) -> bool:
        return self.core.alive

    @property
    def waiting_for(self) -> Sequence[str]:
        return self.core.waiting_for

    def own_metrics(self) -> Iterable[Metric]:
        return self.core.gauge.own_metrics()

    @property
    def cache_usage(self) -> float:
        return self.core.gauge.cache_usage

    @property
    def capacity(self) -> Capacity:
        return self.core.capacity

    async def start(self) -> None:
        try:
            with loading(self.identifier):
                await self._start()
        except EngineFailed:
            self.model = self.model.model_copy(update={"state": ModelState.FAILED})
            raise

    async def _start(self) -> None:
        self.model = self.model.model_copy(update={"state": ModelState.LOADING})
        self.tokenizer = await asyncio.to_thread(Tokenizer.load, self._settings.path)
        await asyncio.to_thread(self._prepare)
        await self.core.start()
        config = self.core.engine.model_config
        known = {"state": ModelState.READY, "quantization": quantization.loaded(config)}
        self.model = self.model.model_copy(update=known | self._facts(config))

    async def warm_up(self) -> None:
        try:
            await self._try()
        except Exception as error:
            raise EngineFailed(f"The model {self.identifier} failed on its first text.") from error

    async def wait_for_failure(self) -> None:
        await self.core.wait_for_failure()

    async def stop(self) -> None:
        await self.core.stop()

    def _prepare(self) -> None:
        """What there is to do before the engine is built, in a thread. Raises ValueError for an unfit model."""
        raise NotImplementedError

    async def _try(self) -> None:
        """Runs the model once."""
        raise NotImplementedError

    def _facts(self, config: Any) -> dict[str, Any]:
        """What is known of the model once it is loaded."""
        raise NotImplementedError

    async def _pooled(self, request_id: str, token_ids: Sequence[int], params: PoolingParams) -> list[float]:
        """Frees the engine when it is cancelled."""
        engine = self.core.engine
        outputs = engine.encode(tokens_input(list(token_ids)), params, request_id, trace_headers=trace_headers())
        finished = False
        try:
            async with aclosing(outputs):
                async for output in outputs:
                    finished = output.finished
                    values: list[float] = output.outputs.data.tolist()
            return values
        except Exception as error:
            raise translated(error) from error
        finally:
            if not finished and self.core.alive:
                await asyncio.shield(engine.abort(request_id))


def metadata(config: Any) -> dict[str, Any]:
    """The facts that every model of vLLM's tells."""
    return {"context_length": context_length(config), "dtype": quantization.dtype_of(config)}


def context_length(config: Any) -> int:
    """The most tokens of a text.

    RoBERTa counts positions from behind its padding on, which vLLM's own limit leaves out: a text that has more than
    these would end the engine.
    """
    model: Any = config.hf_config
    if "roberta" not in model.model_type:
        return int(config.max_model_len)
    return int(min(config.max_model_len, model.max_position_embeddings - model.pad_token_id - 1))
