"""An embedding model on vLLM."""

from collections.abc import Sequence
from typing import Any

from vllm.pooling_params import PoolingParams

from service.api.models import ModelCapabilities, ModelType
from service.api.score import ScoreType
from service.engines.limits import embedding_limits
from service.engines.vllm.language import WARM_UP_TEXT
from service.engines.vllm.pooling import VllmPoolingEngine, context_length, metadata
from service.prompts.task_prefixes import TaskPrefixes


class VllmEmbeddingEngine(VllmPoolingEngine):
    """Runs one embedding model. See engines.base.EmbeddingEngine."""

    model_type = ModelType.EMBEDDING
    task_prefixes: TaskPrefixes

    async def embed(self, request_id: str, token_ids: Sequence[int], dimension: int | None) -> Sequence[float]:
        # The task is for vLLM's own use, but without it one vector per token comes back.
        return await self._pooled(request_id, token_ids, PoolingParams(task="embed", dimensions=dimension))

    def _prepare(self) -> None:
        self.task_prefixes = TaskPrefixes.load(self._settings.path)

    async def _try(self) -> None:
        await self.embed("warm-up", self.tokenizer.encode_untrusted(WARM_UP_TEXT).token_ids, None)

    def _facts(self, config: Any) -> dict[str, Any]:
        return {
            "embedding_dimension": config.get_hidden_size(),
            "metadata": metadata(config) | {"embedding_dimension": config.get_hidden_size()},
            "capabilities": ModelCapabilities(
                output_dimension=bool(config.is_matryoshka),
                embedding_task_types=tuple(self.task_prefixes.by_task),
                score_types=(ScoreType.COSINE,),
            ),
            "limits": embedding_limits(self._limits, context_length(config)),
        }
