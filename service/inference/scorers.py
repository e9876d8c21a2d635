"""How pairs of texts are scored: a cross-encoder reads both together, an embedding model each for itself.

Reading takes time, and is for a thread; it raises RequestErrors, which name the text.
"""

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from service.api.content import TextContentItem
from service.api.embeddings import Embedding, EmbeddingOptions, EmbeddingTaskType, TextTruncation
from service.api.models import ModelType
from service.api.score import ScoreOptions, ScoreResult, ScoreType
from service.engines.base import EmbeddingEngine, ScoringEngine
from service.errors import RequestError, UnsupportedByModel
from service.inference.embedding import Embedder, EmbeddingInput, text_too_long
from service.inference.pooling import each_of
from service.prompts.pairs import Pair
from service.prompts.tokenizer import Prompt


@dataclass(frozen=True, slots=True)
class PairOfTexts:
    """A query and a document, and the fields that hold them."""

    query: str
    document: str
    query_field: str
    document_field: str


class PairsRead(Protocol):
    """The pairs of a call as tokens; each that occurs again is read and scored once."""

    @property
    def tokens(self) -> int: ...

    @property
    def neutralized_spans(self) -> int: ...

    async def scored(self) -> Sequence[ScoreResult]:
        """In the order of the pairs."""
        ...


class Scorer(Protocol):
    @property
    def score_type(self) -> ScoreType: ...

    def read(self, pairs: Sequence[PairOfTexts]) -> PairsRead: ...


def scorer_of(engine: EmbeddingEngine | ScoringEngine, options: ScoreOptions) -> Scorer:
    """Raises RequestErrors for options that the model can't honour."""
    if engine.model_type is ModelType.SCORING:
        return CrossEncoder(cast(ScoringEngine, engine), options)
    return Cosine(cast(EmbeddingEngine, engine), options)


class CrossEncoder:
    score_type = ScoreType.CROSS_ENCODER

    def __init__(self, engine: ScoringEngine, options: ScoreOptions) -> None:
        self._engine = engine
        self._options = options

    def read(self, pairs: Sequence[PairOfTexts]) -> "CrossEncoderPairs":
        prompts: dict[str, Prompt] = {}
        joined: dict[tuple[str, str], Pair] = {}
        for pair in pairs:
            if (pair.query, pair.document) not in joined:
                joined[pair.query, pair.document] = self._joined(pair, prompts)
        rows = list(joined)
        places = {texts: place for place, texts in enumerate(rows)}
        return CrossEncoderPairs(
            self._engine,
            list(joined.values()),
            [places[pair.query, pair.document] for pair in pairs],
            neutralized_spans=sum(prompt.neutralized_spans for prompt in prompts.values()),
            raw_scores=self._options.raw_scores,
        )

    def _joined(self, pair: PairOfTexts, prompts: dict[str, Prompt]) -> Pair:
        truncation = self._options.text_truncation or TextTruncation.NONE
        limit = self._engine.model.limits.context_length
        cuts = truncation is not TextTruncation.NONE
        for text, field in ((pair.query, pair.query_field), (pair.document, pair.document_field)):
            if text not in prompts:
                if not cuts and self._engine.tokenizer.surely_exceeds(text, limit):
                    raise text_too_long(field, None, limit)
                prompts[text] = self._engine.tokenizer.encode_untrusted(text)
        query, document = prompts[pair.query].token_ids, prompts[pair.document].token_ids
        joined = self._engine.pairs.joined(query, document, limit, from_start=truncation is TextTruncation.START)
        if not cuts and joined.original_tokens > limit:
            raise text_too_long(pair.document_field, joined.original_tokens, limit, "Together with its query it")
        return joined


@dataclass(frozen=True, slots=True)
class CrossEncoderPairs:
    """`places` says which of the different `pairs` each pair of the call is."""

    engine: ScoringEngine
    pairs: Sequence[Pair]
    places: Sequence[int]
    neutralized_spans: int
    raw_scores: bool

    @property
    def tokens(self) -> int:
        return sum(len(pair.token_ids) for pair in self.pairs)

    async def scored(self) -> Sequence[ScoreResult]:
        logits = await each_of(self.pairs, self.engine.score)
        results = [self._result(pair, logit) for pair, logit in zip(self.pairs, logits, strict=True)]
        return [results[place] for place in self.places]

    def _result(self, pair: Pair, logit: float) -> ScoreResult:
        used = len(pair.token_ids)
        return ScoreResult(
            score=logit if self.raw_scores else _sigmoid(logit),
            truncated=used < pair.original_tokens,
            original_tokens=pair.original_tokens,
            used_tokens=used,
        )


class Cosine:
    score_type = ScoreType.COSINE

    def __init__(self, engine: EmbeddingEngine, options: ScoreOptions) -> None:
        if options.raw_scores:
            raise UnsupportedByModel("raw_scores", "The model scores by cosine, and has no logits.")
        self._query = _embedder(engine, options, EmbeddingTaskType.QUERY)
        self._document = _embedder(engine, options, EmbeddingTaskType.DOCUMENT)

    def read(self, pairs: Sequence[PairOfTexts]) -> "CosinePairs":
        queries: dict[str, EmbeddingInput] = {}
        documents: dict[str, EmbeddingInput] = {}
        for pair in pairs:
            if pair.query not in queries:
                queries[pair.query] = _read(self._query, pair.query, pair.query_field)
            if pair.document not in documents:
                documents[pair.document] = _read(self._document, pair.document, pair.document_field)
        return CosinePairs(self._query, queries, documents, pairs)


@dataclass(frozen=True, slots=True)
class CosinePairs:
    embedder: Embedder
    queries: Mapping[str, EmbeddingInput]
    documents: Mapping[str, EmbeddingInput]
    pairs: Sequence[PairOfTexts]

    @property
    def tokens(self) -> int:
        return sum(len(text.token_ids) for text in self._texts)

    @property
    def neutralized_spans(self) -> int:
        return sum(text.neutralized_spans for text in self._texts)

    @property
    def _texts(self) -> list[EmbeddingInput]:
        return [*self.queries.values(), *self.documents.values()]

    async def scored(self) -> Sequence[ScoreResult]:
        return await asyncio.to_thread(self._compared, await each_of(self._texts, self.embedder.embed))

    def _compared(self, embeddings: Sequence[Embedding]) -> list[ScoreResult]:
        sides = [Side(embedding, _unit(embedding.values)) for embedding in embeddings]
        queries = dict(zip(self.queries, sides, strict=False))
        documents = dict(zip(self.documents, sides[len(queries) :], strict=True))
        return [_compared(queries[pair.query], documents[pair.document]) for pair in self.pairs]


@dataclass(frozen=True, slots=True)
class Side:
    """A text of a pair; `unit` is its vector, of length 1."""

    embedding: Embedding
    unit: NDArray[np.float64]


def _embedder(engine: EmbeddingEngine, options: ScoreOptions, task: EmbeddingTaskType) -> Embedder:
    knows = task in engine.model.capabilities.embedding_task_types
    embedding_options = EmbeddingOptions(
        model_id=options.model_id, text_truncation=options.text_truncation, task_type=task if knows else None
    )
    return Embedder(engine, embedding_options)


def _read(embedder: Embedder, text: str, field: str) -> EmbeddingInput:
    try:
        return embedder.read(TextContentItem(text=text))
    except RequestError as error:
        raise type(error).of([replace(v, field=field) for v in error.violations]) from None


def _compared(query: Side, document: Side) -> ScoreResult:
    first, second = query.embedding, document.embedding
    return ScoreResult(
        # What is computed may be a little more than 1.
        score=max(-1.0, min(1.0, float(query.unit @ document.unit))),
        truncated=first.truncated or second.truncated,
        original_tokens=first.original_tokens + second.original_tokens,
        used_tokens=first.used_tokens + second.used_tokens,
    )


def _unit(values: Sequence[float]) -> NDArray[np.float64]:
    """Zeros stay zeros, which fit to nothing."""
    vector = np.asarray(values, np.float64)
    return vector / (np.linalg.norm(vector) or 1.0)


def _sigmoid(logit: float) -> float:
    return 0.5 * (1.0 + math.tanh(logit / 2))
