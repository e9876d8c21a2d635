"""Embeddings: texts in, vectors out."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from service.api.base import INT32_MAX, ApiModel
from service.api.content import InterleavedContentItem
from service.api.usage import Timings, Usage


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


class EmbeddingsRequest(ApiModel):
    model_id: str = Field(min_length=1)
    contents: Annotated[tuple[InterleavedContentItem, ...], Field(min_length=1)]
    text_truncation: TextTruncation | None = None
    output_dimension: Annotated[int, Field(ge=1, le=INT32_MAX)] | None = None
    task_type: EmbeddingTaskType | None = None
    encoding: EmbeddingEncoding | None = None


@dataclass(frozen=True, slots=True)
class Embedding:
    """A vector, and how much of the text it stands for; `packed` instead of `values` for a packed encoding."""

    values: Sequence[float]
    packed: bytes
    truncated: bool
    original_tokens: int
    used_tokens: int


@dataclass(frozen=True, slots=True)
class EmbeddingsResponse:
    embeddings: Sequence[Embedding]
    usage: Usage
    timings: Timings
    model_id: str
    request_id: str
