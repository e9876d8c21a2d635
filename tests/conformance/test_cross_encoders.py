"""Scores of real cross-encoders are those of transformers."""

import math
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from service.api.embeddings import TextTruncation
from service.api.models import ModelState
from service.api.score import RerankDocument, RerankRequest, ScorePair, ScoreRequest, ScoreType
from service.client import Client
from service.errors import ContextLengthExceeded
from tests.conformance.cross_encoders import logits, make_bert, make_roberta
from tests.serving import ServerProcess, bundled_models, server_process, settings_file

pytestmark = pytest.mark.real_model

BERT, ROBERTA = "bert", "roberta"
# Of the pair: their positions, RoBERTa's without the first two.
LIMITS = {BERT: 512, ROBERTA: 128}
QUERY = "How do I reset my password?"
DOCUMENTS = [
    "I forgot my password and can't log in.",
    "The sky is blue.",
    "🦊 naïve café [SEP] </s> <|im_end|>",
    "a",
    "Le ciel est bleu.",
    "How do I reset my password?",
]
PAIRS = [
    *((QUERY, document) for document in DOCUMENTS),
    ("blue", "The sky is blue."),
    ("sky " * 12, "blue " * 8),
]
LONG = [("sky " * 600, "blue"), ("sky", "blue " * 600), ("sky " * 400, "blue " * 601), ("sky " * 400, "blue " * 400)]
every_model = pytest.mark.parametrize("model", [BERT, ROBERTA])


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folders = {name: tmp_path_factory.mktemp(name) for name in (BERT, ROBERTA)}
    make_bert(folders[BERT], bundled_models()[1]["path"])
    make_roberta(folders[ROBERTA])
    return folders


@pytest.fixture(scope="module")
def server(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    models = [{"path": str(folder), "id": name, "type": "scoring"} for name, folder in folders.items()]
    folder = tmp_path_factory.mktemp("cross-encoders")
    with server_process(folder, "--config", settings_file(folder, models)) as served:
        served.wait_until_serving()
        yield served


@pytest.fixture
async def client(server: ServerProcess) -> AsyncIterator[Client]:
    async with Client(server.target) as client:
        yield client


def asked(
    model: str, pairs: list[tuple[str, str]], *, raw: bool = True, cut: TextTruncation | None = None
) -> ScoreRequest:
    return ScoreRequest(
        model_id=model,
        pairs=tuple(ScorePair(query=query, document=document) for query, document in pairs),
        raw_scores=raw,
        text_truncation=cut,
    )


def without_spelled_control_tokens(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(query, document) for query, document in pairs if "[SEP]" not in document]


@every_model
async def test_a_batch_of_scores_is_that_of_transformers(client: Client, folders: dict[str, Path], model: str) -> None:
    # transformers reads what a text spells as control tokens, and this server doesn't.
    pairs = without_spelled_control_tokens(PAIRS)
    expected = logits(folders[model], pairs, LIMITS[model])
    answer = await client.score(asked(model, pairs))
    assert [result.score for result in answer.results] == pytest.approx(expected, abs=2e-3)
    assert max(expected) - min(expected) > 0.1
    assert answer.score_type is ScoreType.CROSS_ENCODER
    assert answer.usage.prompt_tokens == sum(result.used_tokens for result in answer.results)
    activated = await client.score(asked(model, pairs, raw=False))
    assert [r.score for r in activated.results] == pytest.approx([1 / (1 + math.exp(-x)) for x in expected], abs=1e-3)


@every_model
async def test_long_pairs_are_cut_as_transformers_cuts_them(
    client: Client, folders: dict[str, Path], model: str
) -> None:
    expected = logits(folders[model], LONG, LIMITS[model])
    answer = await client.score(asked(model, LONG, cut=TextTruncation.END))
    assert [result.score for result in answer.results] == pytest.approx(expected, abs=2e-3)
    assert {(result.truncated, result.used_tokens) for result in answer.results} == {(True, LIMITS[model])}
    with pytest.raises(ContextLengthExceeded, match=r"pairs\[0\]"):
        await client.score(asked(model, LONG))


@every_model
async def test_documents_are_ranked_by_their_scores(client: Client, model: str) -> None:
    documents = tuple(RerankDocument(text=text, id=str(index)) for index, text in enumerate(DOCUMENTS))
    scored = await client.score(asked(model, [(QUERY, text) for text in DOCUMENTS], raw=False))
    scores = [result.score for result in scored.results]
    answer = await client.rerank(RerankRequest(model_id=model, query=QUERY, documents=documents, top_n=4))
    # Computed in another batch, a score may differ in its last digits.
    assert [r.relevance_score for r in answer.results] == pytest.approx(sorted(scores, reverse=True)[:4], abs=1e-4)
    assert [r.relevance_score for r in answer.results] == pytest.approx(
        [scores[r.index] for r in answer.results], abs=1e-4
    )
    assert [int(result.id) for result in answer.results] == [result.index for result in answer.results]


async def test_what_a_text_spells_does_not_end_it(client: Client) -> None:
    answer = await client.score(asked(BERT, [(QUERY, DOCUMENTS[2])]))
    assert answer.usage.neutralized_spans == 1


@every_model
async def test_a_model_tells_its_limit(client: Client, model: str) -> None:
    described = await client.model(model)
    assert (described.state, described.limits.context_length) == (ModelState.READY, LIMITS[model])
    assert described.capabilities.score_types == (ScoreType.CROSS_ENCODER,)
