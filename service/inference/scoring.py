"""Scoring and ranking: how well texts fit to queries."""

import asyncio
from collections.abc import Sequence

from service.api.models import Model
from service.api.score import (
    RerankRequest,
    RerankResponse,
    RerankResult,
    ScoreOptions,
    ScoreRequest,
    ScoreResponse,
    ScoreResult,
    ScoreType,
)
from service.engines.registry import Registry
from service.errors import InvalidField
from service.inference.pooling import placed, timings_of, usage_of
from service.inference.scorers import PairOfTexts, scorer_of
from service.telemetry.calls import Call


class Scoring:
    """Scores pairs, and ranks documents by their scores."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def score(self, request: ScoreRequest, call: Call) -> ScoreResponse:
        pairs = [
            PairOfTexts(pair.query, pair.document, f"pairs[{index}].query", f"pairs[{index}].document")
            for index, pair in enumerate(request.pairs)
        ]
        results, score_type = await self._scored("pairs", pairs, request, call)
        return ScoreResponse(
            results=results,
            score_type=score_type,
            usage=usage_of(call),
            timings=timings_of(call),
            model_id=request.model_id,
            request_id=call.request_id,
        )

    async def rerank(self, request: RerankRequest, call: Call) -> RerankResponse:
        pairs = [
            PairOfTexts(request.query, document.text, "query", f"documents[{index}].text")
            for index, document in enumerate(request.documents)
        ]
        results, score_type = await self._scored("documents", pairs, request, call)
        # Stable: equal ones keep their order.
        best = sorted(range(len(results)), key=lambda index: -results[index].score)[: request.top_n]
        return RerankResponse(
            results=[_ranked(request, index, results[index]) for index in best],
            score_type=score_type,
            usage=usage_of(call),
            timings=timings_of(call),
            model_id=request.model_id,
            request_id=call.request_id,
        )

    async def _scored(
        self, field: str, pairs: Sequence[PairOfTexts], options: ScoreOptions, call: Call
    ) -> tuple[Sequence[ScoreResult], ScoreType]:
        """`field` is the list that the pairs come from."""
        engine = self._registry.scoring_engine(options.model_id, call)
        admission = self._registry.admission(engine)
        admission.check(call.identity)
        _check_count(field, len(pairs), engine.model)
        scorer = scorer_of(engine, options)
        read = await asyncio.to_thread(scorer.read, pairs)
        async with placed(admission, read.tokens, read.neutralized_spans, call):
            return await read.scored(), scorer.score_type


def _ranked(request: RerankRequest, index: int, result: ScoreResult) -> RerankResult:
    document = request.documents[index]
    return RerankResult(
        index=index,
        relevance_score=result.score,
        id=document.id,
        document=document if request.return_documents else None,
        truncated=result.truncated,
        original_tokens=result.original_tokens,
        used_tokens=result.used_tokens,
    )


def _check_count(field: str, count: int, model: Model) -> None:
    limit = model.limits.max_documents
    if count > limit:
        raise InvalidField(field, f"There are {count} {field}; the limit is {limit}.")
