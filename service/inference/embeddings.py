"""Embeddings: texts in, vectors out."""

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from service.api.content import ImageContentItem, InterleavedContentItem
from service.api.embeddings import Embedding, EmbeddingsRequest, EmbeddingsResponse, TextTruncation
from service.api.models import Model
from service.api.usage import Timings, Usage
from service.engines.base import EmbeddingEngine
from service.engines.registry import Registry
from service.errors import (
    ContextLengthExceeded,
    FeatureNotImplemented,
    InferwireError,
    InvalidField,
    UnsupportedByModel,
)
from service.prompts.tokenizer import Segment
from service.telemetry.calls import Call


@dataclass(frozen=True, slots=True)
class EmbeddingInput:
    """A tokenised text, the model's special tokens included, and its length before any cut."""

    token_ids: list[int]
    original_tokens: int
    neutralized_spans: int


class Embeddings:
    """Embeds texts."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def embed(self, request: EmbeddingsRequest, call: Call) -> EmbeddingsResponse:
        engine = self._registry.embedding_engine(request.model_id, call)
        admission = self._registry.admission(engine)
        admission.check(call.identity)
        _check(request, engine.model)
        inputs = await asyncio.to_thread(_tokenize, request, engine)
        tokens = sum(len(i.token_ids) for i in inputs)
        async with admission.place(call.identity, tokens, call.remaining_s()) as place:
            call.prompt_tokens = place.used = tokens
            call.neutralized_spans = sum(i.neutralized_spans for i in inputs)
            queued_s = call.elapsed_s()
            vectors = await _embed_all(engine, inputs, request.output_dimension)
        return EmbeddingsResponse(
            embeddings=[_embedding(*pair) for pair in zip(inputs, vectors, strict=True)],
            usage=Usage(
                prompt_tokens=call.prompt_tokens,
                cached_tokens=0,
                completion_tokens=0,
                neutralized_spans=call.neutralized_spans,
            ),
            timings=Timings(queued_s, None, call.elapsed_s()),
            model_id=request.model_id,
            request_id=call.request_id,
        )


def _check(request: EmbeddingsRequest, model: Model) -> None:
    if request.encoding is not None:
        raise FeatureNotImplemented("encoding", "This build sends vectors as `values` only.")
    if len(request.contents) > model.limits.max_contents:
        raise InvalidField(
            "contents", f"There are {len(request.contents)} contents; the limit is {model.limits.max_contents}."
        )
    _check_dimension(request, model)
    if request.task_type is not None and request.task_type not in model.capabilities.embedding_task_types:
        raise UnsupportedByModel("task_type", "The model doesn't embed questions and documents differently.")


def _check_dimension(request: EmbeddingsRequest, model: Model) -> None:
    asked, own = request.output_dimension, model.embedding_dimension
    if asked is None:
        return
    if own is not None and asked > own:
        raise InvalidField("output_dimension", f"It is {asked}; the model's vectors have {own} dimensions.")
    if not model.capabilities.output_dimension:
        raise UnsupportedByModel("output_dimension", "The model is not a Matryoshka model; its vectors can't be cut.")


def _tokenize(request: EmbeddingsRequest, engine: EmbeddingEngine) -> list[EmbeddingInput]:
    prefix = engine.task_prefixes.by_task.get(request.task_type, "") if request.task_type else ""
    texts = [_text(item, index) for index, item in enumerate(request.contents)]
    truncation = request.text_truncation or TextTruncation.NONE
    return [_input(engine, prefix, text, truncation, index) for index, text in enumerate(texts)]


def _text(item: InterleavedContentItem, index: int) -> str:
    if isinstance(item, ImageContentItem):
        raise UnsupportedByModel(f"contents[{index}].image", "The model doesn't read images.")
    if not item.text:
        raise InvalidField(f"contents[{index}].text", "A text to embed is required.")
    return item.text


def _input(engine: EmbeddingEngine, prefix: str, text: str, truncation: TextTruncation, index: int) -> EmbeddingInput:
    tokenizer = engine.tokenizer
    limit = engine.model.limits.context_length
    if truncation is TextTruncation.NONE and tokenizer.surely_exceeds(prefix + text, limit):
        raise _text_too_long(index, None, limit)
    # The prefix is the model's own, and may hold control tokens.
    own = Segment(prefix, trusted=True)
    prompt = tokenizer.encode([own, Segment(text, trusted=False)])
    ids = prompt.token_ids
    around = len(tokenizer.prefix_ids) + len(tokenizer.suffix_ids)
    if truncation is TextTruncation.NONE and len(ids) + around > limit:
        raise _text_too_long(index, len(ids) + around, limit)
    # The task's prefix is no part of the text that is cut from its start.
    head = tokenizer.encode([own]).token_ids if truncation is TextTruncation.START else []
    kept = _cut(ids, head, limit - around, truncation)
    whole = tokenizer.prefix_ids + kept + tokenizer.suffix_ids
    return EmbeddingInput(whole, len(ids) + around, prompt.neutralized_spans)


def _text_too_long(index: int, tokens: int | None, limit: int) -> ContextLengthExceeded:
    """`tokens` is None for a text that is far too long to be counted."""
    shown = f"more than {limit}" if tokens is None else str(tokens)
    counted = {} if tokens is None else {"tokens": str(tokens)}
    return ContextLengthExceeded(
        f"contents[{index}].text",
        f"The text has {shown} tokens; the model takes {limit}. Set text_truncation to cut it.",
        metadata={"limit": str(limit), **counted},
    )


def _cut(ids: list[int], head: list[int], room: int, truncation: TextTruncation) -> list[int]:
    if len(ids) <= room or truncation is not TextTruncation.START:
        return ids[:room]
    return head + ids[len(ids) - room + len(head) :]


async def _embed_all(
    engine: EmbeddingEngine, inputs: Sequence[EmbeddingInput], dimension: int | None
) -> list[Sequence[float]]:
    """All at once, for the engine to batch. When one fails, the others are given up."""
    request_id = uuid.uuid4().hex
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(engine.embed(f"{request_id}-{index}", text.token_ids, dimension))
                for index, text in enumerate(inputs)
            ]
    except* InferwireError as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]


def _embedding(text: EmbeddingInput, vector: Sequence[float]) -> Embedding:
    used = len(text.token_ids)
    return Embedding(
        values=vector,
        packed=b"",
        truncated=used < text.original_tokens,
        original_tokens=text.original_tokens,
        used_tokens=used,
    )
