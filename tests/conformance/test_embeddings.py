"""Embeddings: one vector per text in order, cut as asked, refused where they can't be made."""

from collections.abc import Sequence

import numpy as np
import pytest

from service.api.content import ImageContentItem, ImageUrl
from service.api.embeddings import EmbeddingsRequest, EmbeddingTaskType, TextTruncation
from service.client import Client
from service.errors import ContextLengthExceeded, InvalidField, UnsupportedByModel
from tests.conformance.calls import embeddings
from tests.conformance.conftest import Served

TEXTS = ("The sky is blue.", "Der Himmel ist blau.", "x", "空は青い。", "🦊", "The sky is blue.")


def cosine(a: Sequence[float], b: Sequence[float]) -> float:
    return float(np.dot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b)))


async def vectors(client: Client, *texts: str, **options: object) -> list[Sequence[float]]:
    response = await client.embed(embeddings(*texts, **options))
    return [embedding.values for embedding in response.embeddings]


async def test_one_vector_per_text_of_the_model_s_dimension(client: Client, served: Served) -> None:
    found = await vectors(client, *TEXTS)
    dimension = (await client.model(served.embedder)).metadata["embedding_dimension"]
    assert [len(vector) for vector in found] == [dimension] * len(TEXTS)


async def test_vectors_have_length_1(client: Client) -> None:
    for vector in await vectors(client, *TEXTS):
        assert np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-3)


async def test_order_is_kept(client: Client) -> None:
    batch = await vectors(client, *TEXTS)
    alone = [(await vectors(client, text))[0] for text in TEXTS]
    assert all(cosine(a, b) >= 0.9999 for a, b in zip(batch, alone, strict=True))
    assert cosine(batch[0], batch[5]) >= 0.9999
    assert max(cosine(batch[0], other) for other in batch[1:5]) < 0.99


async def test_usage_counts_tokens_and_texts_say_how_many_were_used(client: Client, served: Served) -> None:
    response = await client.embed(embeddings(served.text_of(5), served.text_of(7)))
    specials = served.embedder_specials
    assert [embedding.used_tokens for embedding in response.embeddings] == [5 + specials, 7 + specials]
    assert response.usage.prompt_tokens == 12 + 2 * specials
    assert response.usage.completion_tokens == response.usage.cached_tokens == 0


async def test_a_text_that_just_fits_is_not_cut(client: Client, served: Served) -> None:
    fitting = served.text_of(served.embedder_limit - served.embedder_specials)
    [embedding] = (await client.embed(embeddings(fitting))).embeddings
    assert (embedding.truncated, embedding.used_tokens) == (False, served.embedder_limit)


@pytest.mark.parametrize("truncation", [None, TextTruncation.NONE])
async def test_too_long_a_text_is_refused_with_length_and_limit(
    client: Client, served: Served, truncation: TextTruncation | None
) -> None:
    too_long = served.text_of(served.embedder_limit + 10)
    with pytest.raises(ContextLengthExceeded) as refusal:
        await client.embed(embeddings("short", too_long, text_truncation=truncation))
    tokens = served.embedder_limit + 10 + served.embedder_specials
    assert refusal.value.metadata == {"tokens": str(tokens), "limit": str(served.embedder_limit)}
    assert refusal.value.violations[0].field == "contents[1].text"


@pytest.mark.parametrize("truncation", [TextTruncation.START, TextTruncation.END])
async def test_cutting_leaves_what_a_caller_would_have_left(
    client: Client, served: Served, truncation: TextTruncation
) -> None:
    room, over = served.embedder_limit - served.embedder_specials, 45
    whole = served.text_of(room + over)
    by_hand = served.text_of(room, first=over if truncation is TextTruncation.START else 0)
    response = await client.embed(embeddings(whole, by_hand, text_truncation=truncation))
    cut, uncut = response.embeddings
    assert cosine(cut.values, uncut.values) >= 0.99999
    assert (cut.truncated, uncut.truncated) == (True, False)
    assert cut.used_tokens == uncut.used_tokens == served.embedder_limit
    assert cut.original_tokens == served.embedder_limit + over


async def test_start_and_end_cut_different_ends(client: Client, served: Served) -> None:
    text = served.text_of(60) + " Something else entirely! " + served.text_of(served.embedder_limit)
    [start] = await vectors(client, text, text_truncation=TextTruncation.START)
    [end] = await vectors(client, text, text_truncation=TextTruncation.END)
    assert cosine(start, end) < 0.9999


async def test_more_dimensions_than_the_model_has_are_refused(client: Client, served: Served) -> None:
    dimension = (await client.model(served.embedder)).metadata["embedding_dimension"]
    with pytest.raises(InvalidField) as refusal:
        await vectors(client, "x", output_dimension=dimension + 1)
    assert refusal.value.violations[0].field == "output_dimension"


async def test_a_symmetric_model_takes_no_task_type(client: Client) -> None:
    for task_type in EmbeddingTaskType:
        with pytest.raises(UnsupportedByModel) as refusal:
            await vectors(client, "x", task_type=task_type)
        assert refusal.value.violations[0].field == "task_type"


async def test_an_empty_text_and_an_image_are_refused_by_their_place(client: Client, served: Served) -> None:
    with pytest.raises(InvalidField, match=r"contents\[1\]\.text"):
        await vectors(client, "x", "")
    image = ImageContentItem(source=ImageUrl(url="data:image/png;base64,AAAA"))
    with pytest.raises(UnsupportedByModel, match=r"contents\[0\]\.image"):
        await client.embed(EmbeddingsRequest(model_id=served.embedder, contents=(image,)))


@pytest.mark.real_model
async def test_a_model_that_is_not_matryoshka_refuses_fewer_dimensions(real_client: Client) -> None:
    with pytest.raises(UnsupportedByModel) as refusal:
        await vectors(real_client, "x", output_dimension=32)
    assert refusal.value.violations[0].field == "output_dimension"
