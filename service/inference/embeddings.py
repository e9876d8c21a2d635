"""Embeddings: texts in, vectors out."""

import asyncio
from collections.abc import Sequence

from service.api.content import InterleavedContentItem
from service.api.embeddings import EmbeddingsRequest, EmbeddingsResponse
from service.api.models import Model
from service.engines.registry import Registry
from service.errors import InvalidField, RequestError
from service.inference.embedding import Embedder, EmbeddingInput
from service.inference.pooling import each_of, placed, timings_of, usage_of
from service.telemetry.calls import Call


class Embeddings:
    """Embeds texts."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def embed(self, request: EmbeddingsRequest, call: Call) -> EmbeddingsResponse:
        engine = self._registry.embedding_engine(request.model_id, call)
        admission = self._registry.admission(engine)
        admission.check(call.identity)
        _check_count(request, engine.model)
        embedder = Embedder(engine, request)
        inputs = await asyncio.to_thread(_read_all, embedder, request.contents)
        tokens = sum(len(i.token_ids) for i in inputs)
        async with placed(admission, tokens, sum(i.neutralized_spans for i in inputs), call):
            embeddings = await each_of(inputs, embedder.embed)
        return EmbeddingsResponse(
            embeddings=embeddings,
            usage=usage_of(call),
            timings=timings_of(call),
            model_id=request.model_id,
            request_id=call.request_id,
        )


def _check_count(request: EmbeddingsRequest, model: Model) -> None:
    count, limit = len(request.contents), model.limits.max_contents
    if count > limit:
        raise InvalidField("contents", f"There are {count} contents; the limit is {limit}.")


def _read_all(embedder: Embedder, contents: Sequence[InterleavedContentItem]) -> list[EmbeddingInput]:
    return [_read(embedder, item, index) for index, item in enumerate(contents)]


def _read(embedder: Embedder, item: InterleavedContentItem, index: int) -> EmbeddingInput:
    try:
        return embedder.read(item)
    except RequestError as error:
        raise error.under(f"contents[{index}]") from None
