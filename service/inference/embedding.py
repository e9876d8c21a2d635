"""One content and its vector: what all embeddings of a call have in common is checked once, then each is read."""

from collections.abc import Sequence
from dataclasses import dataclass

from service.api.content import ImageContentItem, InterleavedContentItem
from service.api.embeddings import Embedding, EmbeddingOptions, TextTruncation
from service.api.models import Model
from service.api.vectors import pack
from service.engines.base import EmbeddingEngine
from service.errors import ContextLengthExceeded, InvalidField, UnsupportedByModel
from service.prompts.tokenizer import Segment


@dataclass(frozen=True, slots=True)
class EmbeddingInput:
    """A tokenised text, the model's special tokens included, and its length before any cut."""

    token_ids: list[int]
    original_tokens: int
    neutralized_spans: int


class Embedder:
    """Embeds contents as the options of a call ask for."""

    def __init__(self, engine: EmbeddingEngine, options: EmbeddingOptions) -> None:
        """Raises RequestErrors for options that the model can't honour."""
        _check_dimension(options, engine.model)
        _check_task_type(options, engine.model)
        self._engine = engine
        self._options = options
        self._truncation = options.text_truncation or TextTruncation.NONE
        prefix = engine.task_prefixes.by_task.get(options.task_type, "") if options.task_type else ""
        # The prefix is the model's own, and may hold control tokens.
        self._prefix = Segment(prefix, trusted=True)

    def read(self, item: InterleavedContentItem) -> EmbeddingInput:
        """Takes time. Raises RequestErrors, whose paths begin in the item."""
        text = self._text(item)
        tokenizer = self._engine.tokenizer
        limit = self._engine.model.limits.context_length
        cuts = self._truncation is not TextTruncation.NONE
        if not cuts and tokenizer.surely_exceeds(self._prefix.text + text, limit):
            raise text_too_long("text", None, limit)
        prompt = tokenizer.encode([self._prefix, Segment(text, trusted=False)])
        around = len(tokenizer.prefix_ids) + len(tokenizer.suffix_ids)
        tokens = len(prompt.token_ids) + around
        if not cuts and tokens > limit:
            raise text_too_long("text", tokens, limit)
        whole = tokenizer.prefix_ids + self._cut(prompt.token_ids, limit - around) + tokenizer.suffix_ids
        return EmbeddingInput(whole, tokens, prompt.neutralized_spans)

    async def embed(self, request_id: str, text: EmbeddingInput) -> Embedding:
        vector = await self._engine.embed(request_id, text.token_ids, self._options.output_dimension)
        return self._encoded(text, vector)

    def _text(self, item: InterleavedContentItem) -> str:
        if isinstance(item, ImageContentItem):
            raise UnsupportedByModel("image", "The model doesn't read images.")
        if not item.text:
            raise InvalidField("text", "A text to embed is required.")
        return item.text

    def _cut(self, ids: list[int], room: int) -> list[int]:
        if len(ids) <= room or self._truncation is not TextTruncation.START:
            return ids[:room]
        # The task's prefix is no part of the text that is cut from its start.
        head = self._engine.tokenizer.encode([self._prefix]).token_ids
        return head + ids[len(ids) - room + len(head) :]

    def _encoded(self, text: EmbeddingInput, vector: Sequence[float]) -> Embedding:
        encoding = self._options.encoding
        packed = pack(vector, encoding) if encoding else None
        used = len(text.token_ids)
        return Embedding(
            values=() if packed else vector,
            packed=packed.data if packed else b"",
            truncated=used < text.original_tokens,
            original_tokens=text.original_tokens,
            used_tokens=used,
            scale=packed.scale if packed else 0.0,
        )


def _check_dimension(options: EmbeddingOptions, model: Model) -> None:
    asked, own = options.output_dimension, model.embedding_dimension
    if asked is None:
        return
    if own is not None and asked > own:
        raise InvalidField("output_dimension", f"It is {asked}; the model's vectors have {own} dimensions.")
    if not model.capabilities.output_dimension:
        raise UnsupportedByModel("output_dimension", "The model is not a Matryoshka model; its vectors can't be cut.")


def _check_task_type(options: EmbeddingOptions, model: Model) -> None:
    if options.task_type is not None and options.task_type not in model.capabilities.embedding_task_types:
        raise UnsupportedByModel("task_type", "The model doesn't embed questions and documents differently.")


def text_too_long(field: str, tokens: int | None, limit: int, what: str = "It") -> ContextLengthExceeded:
    """`tokens` is None for a text that is far too long to be counted."""
    shown = f"more than {limit}" if tokens is None else str(tokens)
    counted = {} if tokens is None else {"tokens": str(tokens)}
    return ContextLengthExceeded(
        field,
        f"{what} has {shown} tokens; the model takes {limit}. Set text_truncation to cut it.",
        metadata={"limit": str(limit), **counted},
    )
