"""Scores by cosine are those of sentence-transformers."""

from pathlib import Path

import numpy as np
import pytest

from service.api.score import RerankDocument, RerankRequest, ScorePair, ScoreRequest, ScoreType
from service.client import Client
from tests.conformance.test_sentence_transformers import SENTENCES
from tests.serving import EMBEDDER

pytestmark = pytest.mark.real_model

QUERY = "How can I change my password?"


@pytest.fixture(scope="module")
def reference(embedding_model_folder: Path) -> list[float]:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(embedding_model_folder), device="cpu")
    vectors = model.encode([QUERY, *SENTENCES], batch_size=1, normalize_embeddings=True, show_progress_bar=False)
    return list(np.asarray(vectors)[1:] @ np.asarray(vectors)[0])


async def test_cosines_are_those_of_sentence_transformers(real_client: Client, reference: list[float]) -> None:
    pairs = tuple(ScorePair(query=QUERY, document=text) for text in SENTENCES)
    answer = await real_client.score(ScoreRequest(model_id=EMBEDDER, pairs=pairs))
    assert [result.score for result in answer.results] == pytest.approx(reference, abs=1e-3)
    assert answer.score_type is ScoreType.COSINE


async def test_documents_are_ranked_by_them(real_client: Client, reference: list[float]) -> None:
    documents = tuple(RerankDocument(text=text) for text in SENTENCES)
    answer = await real_client.rerank(RerankRequest(model_id=EMBEDDER, query=QUERY, documents=documents, top_n=3))
    assert [result.index for result in answer.results] == list(np.argsort(reference)[::-1][:3])
    assert SENTENCES[answer.results[0].index] == "How do I reset my password?"
