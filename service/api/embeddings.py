"""Embeddings: texts in, vectors out."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from service.api.base import INT32_MAX, ApiModel
from service.api.content import InterleavedContentItem
from service.api.usage import Timings, Usage
from service.errors import RequestError


class TextTruncation(StrEnum):
    NONE = "none"
    START = "start"
    END = "end"


class EmbeddingTaskType(StrEnum):
    QUERY = "query"
    DOCUMENT = "document"


class EmbeddingEncoding(StrEnum):
    FLOAT32 = "float32"
    FLOAT16 = "float16"
    INT8 = "int8"
    BINARY = "binary"


class EmbeddingOptions(ApiModel):
    """What holds for all contents of a request, or for all items of a bulk request."""

    model_id: str = Field(min_length=1)
    text_truncation: TextTruncation | None = None
    output_dimension: Annotated[int, Field(ge=1, le=INT32_MAX)] | None = None
    task_type: EmbeddingTaskType | None = None
    encoding: EmbeddingEncoding | None = None


class EmbeddingsRequest(EmbeddingOptions):
    contents: Annotated[tuple[InterleavedContentItem, ...], Field(min_length=1)]


class EmbeddingItem(ApiModel):
    """One content of a bulk request; `id` differs from those of all items that are not answered yet."""

    id: str = Field(min_length=1)
    content: InterleavedContentItem


@dataclass(frozen=True, slots=True)
class Embedding:
    """A vector, and how much of the text it stands for; `packed` instead of `values` for a packed encoding.

    `scale` is what a byte stands for in one of INT8. `service.api.vectors` packs and unpacks.
    """

    values: Sequence[float]
    packed: bytes
    truncated: bool
    original_tokens: int
    used_tokens: int
    scale: float = 0.0


@dataclass(frozen=True, slots=True)
class EmbeddingResult:
    """What became of one item of a bulk request: its vector, or what is wrong with it."""

    id: str
    outcome: Embedding | RequestError


@dataclass(frozen=True, slots=True)
class EmbeddingsResponse:
    embeddings: Sequence[Embedding]
    usage: Usage
    timings: Timings
    model_id: str
    request_id: str
