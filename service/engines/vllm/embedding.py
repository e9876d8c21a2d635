"""An embedding model on vLLM."""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from typing import Any

from prometheus_client.metrics_core import Metric
from vllm.inputs.engine import tokens_input
from vllm.pooling_params import PoolingParams

from service.api.models import Model, ModelCapabilities, ModelState, ModelType
from service.api.score import ScoreType
from service.engines.base import Capacity
from service.engines.limits import embedding_limits
from service.engines.vllm import quantization
from service.engines.vllm.core import EngineCore, EngineHost, loading, translated
from service.engines.vllm.language import PROVIDER_ID, WARM_UP_TEXT
from service.errors import EngineFailed
from service.prompts.task_prefixes import TaskPrefixes
from service.prompts.tokenizer import Tokenizer
from service.settings import LimitSettings, ModelSettings
from service.telemetry.traces import trace_headers


class VllmEmbeddingEngine:
    """Runs one embedding model. See engines.base.EmbeddingEngine."""

    def __init__(self, settings: ModelSettings, limits: LimitSettings, host: EngineHost) -> None:
        self.identifier = settings.id
        self.model_type = ModelType.EMBEDDING
        self._settings = settings
        self._limits = limits
        self.core = EngineCore(settings, host)
        # All that is known before the model is loaded.
        self.model = Model(
            identifier=settings.id,
            provider_resource_id=settings.path.rstrip("/").rsplit("/", 1)[-1],
            provider_id=PROVIDER_ID,
            model_type=ModelType.EMBEDDING,
        )
        self.tokenizer: Tokenizer
        self.task_prefixes: TaskPrefixes

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
        self.task_prefixes = TaskPrefixes.load(self._settings.path)
        await self.core.start()
        self.model = self._loaded(self.core.engine.model_config)

    async def warm_up(self) -> None:
        ids = self.tokenizer.encode_untrusted(WARM_UP_TEXT).token_ids
        try:
            await self.embed("warm-up", ids, None)
        except Exception as error:
            raise EngineFailed(f"The model {self.identifier} failed its first embedding.") from error

    async def wait_for_failure(self) -> None:
        await self.core.wait_for_failure()

    async def stop(self) -> None:
        await self.core.stop()

    async def embed(self, request_id: str, token_ids: Sequence[int], dimension: int | None) -> Sequence[float]:
        engine = self.core.engine
        # The task is for vLLM's own use, but without it one vector per token comes back.
        params = PoolingParams(task="embed", dimensions=dimension)
        outputs = engine.encode(tokens_input(list(token_ids)), params, request_id, trace_headers=trace_headers())
        finished = False
        try:
            async with aclosing(outputs):
                async for output in outputs:
                    finished = output.finished
                    vector: Sequence[float] = output.outputs.data.tolist()
            return vector
        except Exception as error:
            raise translated(error) from error
        finally:
            if not finished and self.core.alive:
                await asyncio.shield(engine.abort(request_id))

    def _loaded(self, config: Any) -> Model:
        """The model's description, with what is known once it is loaded."""
        facts = {
            "state": ModelState.READY,
            "embedding_dimension": config.get_hidden_size(),
            "quantization": quantization.loaded(config),
            "metadata": {
                "context_length": config.max_model_len,
                "embedding_dimension": config.get_hidden_size(),
                "dtype": quantization.dtype_of(config),
            },
            "capabilities": ModelCapabilities(
                output_dimension=bool(config.is_matryoshka),
                embedding_task_types=tuple(self.task_prefixes.by_task),
                score_types=(ScoreType.COSINE,),
            ),
            "limits": embedding_limits(self._limits, config.max_model_len),
        }
        return self.model.model_copy(update=facts)
