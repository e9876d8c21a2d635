"""Score and Rerank as callers meet them, over both kinds of models."""

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
import pytest

from inferwire.v1 import score_pb2 as pb
from service.api.embeddings import EmbeddingTaskType
from service.engines.scripted import CONTEXT_LENGTH, ScriptedEmbeddingEngine, ScriptedScoringEngine
from service.errors import EngineFailed
from service.prompts.pairs import Pair
from service.prompts.task_prefixes import TaskPrefixes
from tests.server.serving import EMBEDDER, LIMITS, LLM, SCORER, Running, embedder, language, request, running, trailing

Code = grpc.StatusCode
DOCUMENTS = ["xyz", "abc", "ab", "abc", "a"]


@pytest.fixture
def scorer() -> ScriptedScoringEngine:
    return ScriptedScoringEngine(SCORER, LIMITS)


@pytest.fixture
async def server(scorer: ScriptedScoringEngine) -> AsyncIterator[Running]:
    async with running(language(), embedder(), scorer) as served:
        yield served


def rerank(*texts: str, model: str = SCORER, query: str = "abc", **fields: Any) -> Any:
    documents = [{"text": text, "id": f"id-{index}"} for index, text in enumerate(texts or DOCUMENTS)]
    return request("Rerank", **{"model_id": model, "query": query, "documents": documents, **fields})


def score(*pairs: tuple[str, str], model: str = SCORER, **fields: Any) -> Any:
    asked = [{"query": query, "document": document} for query, document in pairs]
    return request("Score", model_id=model, pairs=asked, **fields)


async def ranked(server: Running, asked: Any) -> list[Any]:
    [answer] = await server.answers("Rerank", asked)
    return list(answer.results)


def sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


class TestRanking:
    async def test_the_best_comes_first_and_equal_ones_keep_their_order(self, server: Running) -> None:
        results = await ranked(server, rerank(raw_scores=True))
        # Letters in common, and one that ends a text, less 3.
        assert [(result.index, result.relevance_score) for result in results] == [
            (1, 1.0),
            (3, 1.0),
            (2, 0.0),
            (4, -1.0),
            (0, -2.0),
        ]
        assert [result.id for result in results] == [f"id-{result.index}" for result in results]
        assert not any(result.HasField("document") for result in results)

    @pytest.mark.parametrize(("top_n", "count"), [(1, 1), (2, 2), (99, len(DOCUMENTS))])
    async def test_only_the_best_are_told(self, server: Running, top_n: int, count: int) -> None:
        results = await ranked(server, rerank(top_n=top_n))
        assert [result.index for result in results] == [1, 3, 2, 4, 0][:count]

    async def test_documents_come_back_when_they_are_asked_for(self, server: Running) -> None:
        results = await ranked(server, rerank(return_documents=True))
        assert [(r.document.text, r.document.id) for r in results] == [(DOCUMENTS[r.index], r.id) for r in results]

    async def test_scores_are_those_of_pairs(self, server: Running) -> None:
        [answer] = await server.answers("Score", score(*(("abc", text) for text in DOCUMENTS)))
        by_index = {result.index: result for result in await ranked(server, rerank())}
        assert [result.score for result in answer.results] == [by_index[i].relevance_score for i in range(5)]
        assert (answer.score_type, answer.model_id) == (pb.SCORE_TYPE_CROSS_ENCODER, SCORER)


class TestCrossEncoder:
    async def test_a_score_is_the_sigmoid_of_the_logit(self, server: Running) -> None:
        [raw] = await server.answers("Score", score(("abc", "abc"), ("a", "b"), raw_scores=True))
        [activated] = await server.answers("Score", score(("abc", "abc"), ("a", "b")))
        assert [result.score for result in raw.results] == [1.0, -2.0]
        assert [r.score for r in activated.results] == pytest.approx([sigmoid(1), sigmoid(-2)])

    async def test_a_pair_that_occurs_again_is_read_once(self, server: Running) -> None:
        once = score(("abc", "abc"))
        [first], [second] = [await server.answers("Score", asked) for asked in (once, score(*[("abc", "abc")] * 3))]
        assert first.usage == second.usage
        assert first.usage.prompt_tokens == first.results[0].used_tokens == 8
        assert len(second.results) == 3

    @pytest.mark.parametrize(("truncation", "kept"), [("TEXT_TRUNCATION_END", 1.0), ("TEXT_TRUNCATION_START", 0.0)])
    async def test_too_long_a_pair_is_cut(self, server: Running, truncation: str, kept: float) -> None:
        long = "abc" + "x" * CONTEXT_LENGTH
        [answer] = await server.answers("Score", score(("abc", long), text_truncation=truncation, raw_scores=True))
        [result] = answer.results
        assert (result.truncated, result.used_tokens) == (True, CONTEXT_LENGTH)
        assert result.original_tokens == CONTEXT_LENGTH + 8
        assert result.score == (1.0 if kept else -2.0)

    async def test_usage_is_in_the_trailers_also_of_a_call_that_fails(
        self, server: Running, scorer: ScriptedScoringEngine
    ) -> None:
        scorer.score = fails  # type: ignore[method-assign]
        failure = await server.failure("Rerank", rerank("a", "b"))
        assert (failure.code, failure.reason) == (Code.UNAVAILABLE, "ENGINE_FAILED")
        assert failure.trailing["inferwire-prompt-tokens"] == "12"

    async def test_who_gives_up_frees_the_engine(self, server: Running, scorer: ScriptedScoringEngine) -> None:
        under_way = Forever()
        scorer.score = under_way.score  # type: ignore[method-assign]
        call = server.call("Rerank", rerank("a", "b"))
        await under_way.begun.wait()
        call.cancel()
        await asyncio.wait_for(under_way.ended.wait(), 10)

    async def test_a_deadline_ends_it(self, server: Running, scorer: ScriptedScoringEngine) -> None:
        scorer.score = Forever().score  # type: ignore[method-assign]
        failure = await server.failure("Rerank", rerank("a"), timeout_s=0.2)
        assert failure.code is Code.DEADLINE_EXCEEDED


async def fails(request_id: str, pair: Pair) -> float:
    raise EngineFailed("The engine was told to fail.", retry_after_s=1.0)


class Forever:
    def __init__(self) -> None:
        self.begun, self.ended = asyncio.Event(), asyncio.Event()

    async def score(self, request_id: str, pair: Pair) -> float:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.set()
        return 0.0


class TestCosine:
    async def test_it_is_that_of_the_embeddings(self, server: Running) -> None:
        texts = ["one", "two", "three"]
        [embedded] = await server.answers(
            "Embeddings", request("Embeddings", model_id=EMBEDDER, contents=[{"text": text} for text in texts])
        )
        query, *documents = [list(embedding.values) for embedding in embedded.embeddings]
        asked = score(("one", "two"), ("one", "three"), ("one", "one"), model=EMBEDDER)
        [answer] = await server.answers("Score", asked)
        assert answer.score_type == pb.SCORE_TYPE_COSINE
        expected = [*(dot(query, document) for document in documents), 1.0]
        assert [result.score for result in answer.results] == pytest.approx(expected, abs=1e-6)
        # The query once, the documents once each.
        assert answer.usage.prompt_tokens == len("one") + len("twothreeone")

    async def test_an_asymmetric_model_gets_its_prefixes(self) -> None:
        prefixes = TaskPrefixes({EmbeddingTaskType.QUERY: "query: ", EmbeddingTaskType.DOCUMENT: "passage: "})
        async with running(ScriptedEmbeddingEngine(EMBEDDER, LIMITS, prefixes)) as server:
            contents = [[{"text": text}] for text in ("a", "b")]
            vectors = [
                (await server.answers("Embeddings", request("Embeddings", model_id=EMBEDDER, contents=c, task_type=t)))[
                    0
                ]
                for c, t in zip(contents, (1, 2), strict=True)
            ]
            [answer] = await server.answers("Score", score(("a", "b"), model=EMBEDDER))
            expected = dot(*(list(vector.embeddings[0].values) for vector in vectors))
            assert answer.results[0].score == pytest.approx(expected, abs=1e-6)
            assert answer.results[0].used_tokens == len("query: a" + "passage: b")

    async def test_documents_are_ranked_by_it(self, server: Running) -> None:
        results = await ranked(server, rerank("two", "one", model=EMBEDDER, query="one"))
        assert (results[0].index, results[0].relevance_score) == (1, pytest.approx(1.0))


def dot(first: Sequence[float], second: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(first, second, strict=True))


LONG = "x" * (CONTEXT_LENGTH + 1)


@pytest.mark.parametrize(
    ("asked", "reason", "fields"),
    [
        (rerank(documents=[]), "INVALID_FIELD", ["documents"]),
        (rerank(documents=[{"text": "a"}, {}]), "INVALID_FIELD", ["documents[1].text"]),
        (rerank(query=""), "INVALID_FIELD", ["query"]),
        (rerank(top_n=0), "INVALID_FIELD", ["top_n"]),
        (rerank(*"abcdefghi"), "INVALID_FIELD", ["documents"]),
        (rerank(text_truncation=9), "UNKNOWN_FIELD", ["text_truncation"]),
        (rerank("a", LONG), "CONTEXT_LENGTH_EXCEEDED", ["documents[1].text"]),
        (rerank("a", LONG, model=EMBEDDER), "CONTEXT_LENGTH_EXCEEDED", ["documents[1].text"]),
        (rerank("a", model=EMBEDDER, query=LONG), "CONTEXT_LENGTH_EXCEEDED", ["query"]),
        (rerank(model=EMBEDDER, raw_scores=True), "UNSUPPORTED_BY_MODEL", ["raw_scores"]),
        (score(), "INVALID_FIELD", ["pairs"]),
        (score(("a", "")), "INVALID_FIELD", ["pairs[0].document"]),
        (score(("", "a")), "INVALID_FIELD", ["pairs[0].query"]),
        (score(*[("a", "b")] * 9), "INVALID_FIELD", ["pairs"]),
        (score(("a", "b"), ("a", LONG)), "CONTEXT_LENGTH_EXCEEDED", ["pairs[1].document"]),
    ],
)
async def test_what_is_wrong_is_named(server: Running, asked: Any, reason: str, fields: list[str]) -> None:
    failure = await server.failure(type(asked).__name__.removesuffix("Request"), asked)
    assert (failure.code, failure.reason, failure.fields) == (Code.INVALID_ARGUMENT, reason, fields)


@pytest.mark.parametrize("asked", [rerank(model=LLM), score(("a", "b"), model=LLM)])
async def test_a_language_model_does_not_score(server: Running, asked: Any) -> None:
    failure = await server.failure(type(asked).__name__.removesuffix("Request"), asked)
    assert (failure.code, failure.reason) == (Code.FAILED_PRECONDITION, "WRONG_MODEL_TYPE")
    assert failure.message == "The model 'llm' is not a scoring model or an embedding model."


async def test_a_scoring_model_does_nothing_else(server: Running) -> None:
    asked = request("Embeddings", model_id=SCORER, contents=[{"text": "a"}])
    failure = await server.failure("Embeddings", asked)
    assert (failure.reason, failure.facts) == ("WRONG_MODEL_TYPE", {"model_type": "scoring"})


async def test_a_model_tells_how_it_scores(server: Running) -> None:
    [listed] = await server.answers("ListModels", request("ListModels"))
    told = {
        model.identifier: (list(model.capabilities.score_types), model.limits.max_documents) for model in listed.models
    }
    assert told == {
        LLM: ([], 0),
        EMBEDDER: ([pb.SCORE_TYPE_COSINE], LIMITS.max_documents),
        SCORER: ([pb.SCORE_TYPE_CROSS_ENCODER], LIMITS.max_documents),
    }


async def test_its_texts_have_tokens_too(server: Running) -> None:
    under_way = server.call("Tokenize", request("Tokenize", model_id=SCORER, text={"text": "abc"}))
    assert (await under_way).count == 4
    assert trailing(await under_way.trailing_metadata())["inferwire-prompt-tokens"] == "4"
