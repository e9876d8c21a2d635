"""Scores: how well texts fit to queries."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from service.api.base import INT32_MAX, ApiModel
from service.api.embeddings import TextTruncation
from service.api.usage import Timings, Usage


class ScoreType(StrEnum):
    CROSS_ENCODER = "cross_encoder"
    COSINE = "cosine"


class ScoreOptions(ApiModel):
    """What scoring and ranking have in common. `raw_scores` asks for logits."""

    model_id: str = Field(min_length=1)
    text_truncation: TextTruncation | None = None
    raw_scores: bool = False


class ScorePair(ApiModel):
    query: str = Field(min_length=1)
    document: str = Field(min_length=1)


class ScoreRequest(ScoreOptions):
    pairs: Annotated[tuple[ScorePair, ...], Field(min_length=1)]


class RerankDocument(ApiModel):
    text: str = Field(min_length=1)
    id: str = ""


class RerankRequest(ScoreOptions):
    query: str = Field(min_length=1)
    documents: Annotated[tuple[RerankDocument, ...], Field(min_length=1)]
    top_n: Annotated[int, Field(ge=1, le=INT32_MAX)] | None = None
    return_documents: bool = False


@dataclass(frozen=True, slots=True)
class ScoreResult:
    """A score, and how much of both texts it stands for."""

    score: float
    truncated: bool
    original_tokens: int
    used_tokens: int


@dataclass(frozen=True, slots=True)
class ScoreResponse:
    results: Sequence[ScoreResult]
    score_type: ScoreType
    usage: Usage
    timings: Timings
    model_id: str
    request_id: str


@dataclass(frozen=True, slots=True)
class RerankResult:
    """`index` is the place of the document in the request."""

    index: int
    relevance_score: float
    id: str
    document: RerankDocument | None
    truncated: bool
    original_tokens: int
    used_tokens: int


@dataclass(frozen=True, slots=True)
class RerankResponse:
    results: Sequence[RerankResult]
    score_type: ScoreType
    usage: Usage
    timings: Timings
    model_id: str
    request_id: str
