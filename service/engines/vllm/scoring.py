"""A cross-encoder on vLLM."""

from typing import Any

from transformers import AutoConfig
from vllm.pooling_params import PoolingParams

from service.api.models import ModelCapabilities, ModelType
from service.api.score import ScoreType
from service.engines.limits import scoring_limits
from service.engines.vllm.language import WARM_UP_TEXT
from service.engines.vllm.pooling import VllmPoolingEngine, context_length, metadata
from service.prompts.pairs import Pair, PairTokenizer

HEAD = "ForSequenceClassification"


class VllmScoringEngine(VllmPoolingEngine):
    """Runs one cross-encoder: a model with a classification head of one label. See engines.base.ScoringEngine."""

    model_type = ModelType.SCORING
    pairs: PairTokenizer

    async def score(self, request_id: str, pair: Pair) -> float:
        types = {} if pair.second_type_from is None else {"compressed_token_type_ids": pair.second_type_from}
        # The logit: which activation a model's configuration names is chance.
        params = PoolingParams(task="classify", use_activation=False, extra_kwargs=types or None)
        [logit] = await self._pooled(request_id, pair.token_ids, params)
        return logit

    def _prepare(self) -> None:
        check_head(AutoConfig.from_pretrained(self._settings.path))
        self.pairs = PairTokenizer(self.tokenizer)

    async def _try(self) -> None:
        ids = self.tokenizer.encode_untrusted(WARM_UP_TEXT).token_ids
        await self.score("warm-up", self.pairs.joined(ids, ids, self.model.limits.context_length))

    def _facts(self, config: Any) -> dict[str, Any]:
        return {
            "metadata": metadata(config),
            "capabilities": ModelCapabilities(score_types=(ScoreType.CROSS_ENCODER,)),
            "limits": scoring_limits(self._limits, context_length(config)),
        }


def check_head(config: Any) -> None:
    """Raises ValueError for a model that doesn't make one score of a pair."""
    architecture = next(iter(config.architectures or ()), "unknown")
    if not architecture.endswith(HEAD):
        raise ValueError(f"It is no cross-encoder: its architecture is {architecture}, and not one {HEAD}.")
    if config.num_labels != 1:
        raise ValueError(f"It is no cross-encoder: its head has {config.num_labels} labels, and not one.")
