"""The vectors are those of sentence-transformers, the library that the embedding model was made with."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from service.client import Client
from tests.conformance.calls import embeddings
from tests.serving import MATRYOSHKA

pytestmark = pytest.mark.real_model

SENTENCES = (
    "The sky is blue.",
    "the sky is blue",
    "THE SKY IS BLUE!!!",
    "a",
    "?",
    "42",
    "3.14159265358979",
    "1,2,3,4,5,6,7,8,9,10",
    "How do I reset my password?",
    "I forgot my password and can't log in.",
    "The bank raised its interest rates.",
    "We sat on the bank of the river.",
    "Le ciel est bleu.",
    "Der Himmel über Köln ist grau.",
    "El niño comió piñas mañana.",
    "Небо голубое.",  # noqa: RUF001
    "空は青い。",
    "天空是蓝色的。",
    "하늘은 파랗다.",
    "السماء زرقاء",
    "השמיים כחולים",
    "आसमान नीला है",
    "🦊",
    "🦊🐻🐼 are animals",
    "👩‍👩‍👧 family",
    "naïve café résumé",
    "nai\u0308ve cafe\u0301 re\u0301sume\u0301",
    "ﬁne ligatures ﬂow",
    "ⅷ ² ½ №",
    "A\tB\tC",
    "line one\nline two\r\nline three",
    "   spaces   around   ",
    "def f(x):\n    return x ** 2",
    "SELECT * FROM users WHERE id = 7;",
    "<html><body>Hi</body></html>",
    '{"name": "Ann", "tags": ["a", "b"]}',
    "https://example.com/a/b?c=d&e=f#g",
    "someone@example.com",
    "C:\\Windows\\System32",
    "[brackets] (parentheses) {braces} <angles>",
    "1 < 2 && 3 > 2 || !true",
    "antidisestablishmentarianism",
    "x" * 150,
    "word " * 100,
    "The quick brown fox jumps over the lazy dog. " * 8,
    "I am happy.",
    "I am not happy.",
    "Not I am happy.",
    "Zażółć gęślą jaźń",
    "Ærøskøbing, Þingvellir, Łódź",
)
DIMENSION = 384


def lengths(vectors: np.ndarray) -> np.ndarray:
    return np.linalg.norm(vectors, axis=1)


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(axis=1) / (lengths(a) * lengths(b))


@pytest.fixture
def client(real_client: Client) -> Client:
    return real_client


@pytest.fixture(scope="module")
def reference(embedding_model_folder: Path) -> np.ndarray:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(embedding_model_folder), device="cpu")
    return np.asarray(model.encode(list(SENTENCES), batch_size=1, show_progress_bar=False))


async def embedded(client: Client, texts: Sequence[str], **options: object) -> np.ndarray:
    response = await client.embed(embeddings(*texts, **options))
    return np.array([embedding.values for embedding in response.embeddings])


async def test_every_text_has_the_same_vector(client: Client, reference: np.ndarray) -> None:
    found = await embedded(client, SENTENCES)
    assert found.shape == (50, DIMENSION)
    apart = [text for text, cosine in zip(SENTENCES, cosines(found, reference), strict=True) if cosine < 0.9999]
    assert apart == []


async def test_control_tokens_that_a_text_spells_are_text(client: Client) -> None:
    spelled, spaced = "a [SEP] b", "a [ SEP ] b"
    response = await client.embed(embeddings(spelled, spaced))
    assert response.embeddings[0].used_tokens == response.embeddings[1].used_tokens


async def test_every_vector_has_length_1(client: Client) -> None:
    assert lengths(await embedded(client, SENTENCES)) == pytest.approx(np.ones(50), abs=1e-3)


async def test_a_batch_of_50_is_each_text_alone(client: Client) -> None:
    batch = await embedded(client, SENTENCES)
    alone = np.concatenate([await embedded(client, [text]) for text in SENTENCES])
    assert cosines(batch, alone).min() >= 0.9999


@pytest.mark.parametrize("dimension", [1, 32, 383, 384])
async def test_a_matryoshka_model_cuts_its_vectors_and_makes_them_long_again(client: Client, dimension: int) -> None:
    full = await embedded(client, SENTENCES, model_id=MATRYOSHKA)
    cut = await embedded(client, SENTENCES, model_id=MATRYOSHKA, output_dimension=dimension)
    assert cut.shape == (50, dimension)
    assert lengths(cut) == pytest.approx(np.ones(50), abs=1e-3)
    assert cosines(cut, full[:, :dimension]).min() >= 0.9999


async def test_told_to_be_matryoshka_a_model_says_so(client: Client) -> None:
    assert (await client.model(MATRYOSHKA)).capabilities.output_dimension
    assert not (await client.model("all-minilm-l6-v2")).capabilities.output_dimension
