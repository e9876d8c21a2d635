"""Embeddings: texts in, vectors out."""

import asyncio
import uuid
from collections.abc import Sequence

from service.api.content import InterleavedContentItem
from service.api.embeddings import Embedding, EmbeddingsRequest, EmbeddingsResponse
from service.api.models import Model
from service.api.usage import Timings, Usage
from service.engines.registry import Registry
from service.errors import InferwireError, InvalidField, RequestError
from service.inference.embedding import Embedder, EmbeddingInput
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
        async with admission.place(call.identity, tokens, call.remaining_s()) as place:
            place.used = tokens
            call.count_prompt(tokens)
            call.neutralized_spans = sum(i.neutralized_spans for i in inputs)
            call.queued_s = call.elapsed_s()
            embeddings = await _embed_all(embedder, inputs)
        return EmbeddingsResponse(
            embeddings=embeddings,
            usage=Usage(
                prompt_tokens=call.prompt_tokens,
                cached_tokens=0,
                completion_tokens=0,
                neutralized_spans=call.neutralized_spans,
            ),
            timings=Timings(call.queued_s, None, call.elapsed_s()),
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


async def _embed_all(embedder: Embedder, inputs: Sequence[EmbeddingInput]) -> list[Embedding]:
    """All at once, for the engine to batch. When one fails, the others are given up."""
    request_id = uuid.uuid4().hex
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(embedder.embed(f"{request_id}-{index}", text)) for index, text in enumerate(inputs)
            ]
    except* InferwireError as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]
