"""Texts to vectors: order, cuts that keep special tokens, prefixes of tasks, and what is refused."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from service.api.content import ImageContentItem, ImageUrl, TextContentItem
from service.api.embeddings import EmbeddingEncoding, EmbeddingsRequest, EmbeddingTaskType, TextTruncation
from service.api.vectors import PackedVector, unpack
from service.engines.registry import Registry
from service.engines.scripted import CONTEXT_LENGTH, DIMENSION, ScriptedEmbeddingEngine
from service.errors import (
    ContextLengthExceeded,
    EngineFailed,
    InvalidField,
    ModelNotFound,
    ModelNotReady,
    RequestError,
    UnsupportedByModel,
    WrongModelType,
)
from service.inference.embeddings import Embeddings
from service.prompts.task_prefixes import TaskPrefixes
from service.prompts.tokenizer import Tokenizer
from service.telemetry.calls import Call
from tests.inference.conftest import EMBEDDER, LIMITS, LLM, Embedder, RecordingEmbeddingEngine
from tests.prompts import small_tokenizers as small

NONE, START, END = TextTruncation.NONE, TextTruncation.START, TextTruncation.END
QUERY, DOCUMENT = EmbeddingTaskType.QUERY, EmbeddingTaskType.DOCUMENT
PREFIXES = TaskPrefixes({QUERY: "query: ", DOCUMENT: ""})
CLS, SEP, HELLO, WORLD = 2, 3, 4, 5
PICTURE = ImageContentItem(source=ImageUrl(url="https://example.com/cat.png"))


def asked(*texts: str, **fields: Any) -> EmbeddingsRequest:
    contents = tuple(TextContentItem(text=text) for text in texts or ("hello",))
    return EmbeddingsRequest(**{"model_id": EMBEDDER, "contents": contents, **fields})


def with_context(engine: RecordingEmbeddingEngine, tokens: int) -> RecordingEmbeddingEngine:
    limits = engine.model.limits.model_copy(update={"context_length": tokens})
    engine.model = engine.model.model_copy(update={"limits": limits})
    return engine


@pytest.fixture
async def bert(embedder: Embedder) -> RecordingEmbeddingEngine:
    """Reads six tokens, one of which begins and one ends every text."""
    engine = with_context(await embedder(), 6)
    engine.tokenizer = Tokenizer(small.loaded(small.word_piece()))
    return engine


def told(engine: ScriptedEmbeddingEngine, ids: Sequence[int]) -> str:
    text: str = engine.tokenizer.pretrained.decode(ids)
    return text


async def test_each_text_has_a_vector_in_its_place(embedder: Embedder, call: Call) -> None:
    embeddings = Embeddings(Registry([await embedder()]))
    texts = ("one", "two", "three", "one")
    together = await embeddings.embed(asked(*texts), call)
    alone = [(await embeddings.embed(asked(text), call)).embeddings[0].values for text in texts]
    assert [embedding.values for embedding in together.embeddings] == alone
    assert alone[0] != alone[1]


async def test_vectors_have_length_one_and_the_models_dimension(embedder: Embedder, call: Call) -> None:
    answer = await Embeddings(Registry([await embedder()])).embed(asked(), call)
    (embedding,) = answer.embeddings
    assert len(embedding.values) == DIMENSION
    assert sum(value * value for value in embedding.values) == pytest.approx(1)
    assert embedding.packed == b""


async def test_the_cost_is_all_tokens(bert: RecordingEmbeddingEngine, call: Call) -> None:
    answer = await Embeddings(Registry([bert])).embed(asked("hello", "hello world"), call)
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, call.prompt_tokens) == (7, 0, 7)
    assert (answer.model_id, answer.request_id) == (EMBEDDER, "r-1")
    assert answer.timings.time_to_first_token_s is None
    assert 0 <= answer.timings.queued_s <= answer.timings.total_s


@pytest.mark.parametrize(
    ("text", "truncation", "ids", "whole"),
    [
        ("hello world", None, [CLS, HELLO, WORLD, SEP], 4),
        ("hello world hello world", NONE, [CLS, HELLO, WORLD, HELLO, WORLD, SEP], 6),
        ("hello world hello world", END, [CLS, HELLO, WORLD, HELLO, WORLD, SEP], 6),
        ("hello hello hello hello world", END, [CLS, HELLO, HELLO, HELLO, HELLO, SEP], 7),
        ("world hello hello hello hello", START, [CLS, HELLO, HELLO, HELLO, HELLO, SEP], 7),
        ("hello " * 100 + "world", START, [CLS, HELLO, HELLO, HELLO, WORLD, SEP], 103),
        ("   ", START, [CLS, SEP], 2),
    ],
)
async def test_a_cut_keeps_the_special_tokens_and_is_told(
    bert: RecordingEmbeddingEngine, call: Call, text: str, truncation: Any, ids: list[int], whole: int
) -> None:
    answer = await Embeddings(Registry([bert])).embed(asked(text, text_truncation=truncation), call)
    (embedding,) = answer.embeddings
    assert bert.embedded == [ids]
    assert (embedding.used_tokens, embedding.original_tokens) == (len(ids), whole)
    assert embedding.truncated is (len(ids) < whole)


@pytest.mark.parametrize(("text", "counted"), [("hello " * 5, {"tokens": "7"}), ("[" * 1000, {})])
@pytest.mark.parametrize("truncation", [None, NONE])
async def test_uncut_too_long_a_text_is_refused_with_its_length(
    bert: RecordingEmbeddingEngine, call: Call, truncation: Any, text: str, counted: dict[str, str]
) -> None:
    with pytest.raises(ContextLengthExceeded, match="text_truncation") as refused:
        await Embeddings(Registry([bert])).embed(asked("hello", text, text_truncation=truncation), call)
    assert [violation.field for violation in refused.value.violations] == ["contents[1].text"]
    assert refused.value.metadata == {"limit": "6", **counted}
    assert bert.embedded == []


async def test_a_text_that_spells_special_tokens_is_text(bert: RecordingEmbeddingEngine, call: Call) -> None:
    answer = await Embeddings(Registry([bert])).embed(asked("[SEP]", "hello", "[CLS]"), call)
    assert [(ids[0], ids[-1]) for ids in bert.embedded] == [(CLS, SEP)] * 3
    assert not {CLS, SEP} & {token_id for ids in bert.embedded for token_id in ids[1:-1]}
    assert (answer.usage.neutralized_spans, call.neutralized_spans) == (2, 2)


@pytest.mark.parametrize(
    ("truncation", "inner"), [(END, [SEP, HELLO, WORLD, HELLO]), (START, [SEP, WORLD, WORLD, WORLD])]
)
async def test_a_prefix_is_the_models_own_and_may_hold_special_tokens(
    bert: RecordingEmbeddingEngine, call: Call, truncation: TextTruncation, inner: list[int]
) -> None:
    bert.task_prefixes = TaskPrefixes({QUERY: "[SEP] "})
    capabilities = bert.model.capabilities.model_copy(update={"embedding_task_types": (QUERY,)})
    bert.model = bert.model.model_copy(update={"capabilities": capabilities})
    asked_for = asked("hello world hello world world world", task_type=QUERY, text_truncation=truncation)
    answer = await Embeddings(Registry([bert])).embed(asked_for, call)
    assert bert.embedded == [[CLS, *inner, SEP]]
    assert answer.usage.neutralized_spans == 0


@pytest.mark.parametrize(("task", "text"), [(None, "cat"), (QUERY, "query: cat"), (DOCUMENT, "cat")])
async def test_a_task_puts_its_prefix_before_the_text(embedder: Embedder, call: Call, task: Any, text: str) -> None:
    engine = await embedder(PREFIXES)
    answer = await Embeddings(Registry([engine])).embed(asked("cat", task_type=task), call)
    assert told(engine, engine.embedded[0]) == text
    assert answer.embeddings[0].original_tokens == len(text)


@pytest.mark.parametrize(("truncation", "text"), [(START, "query: 6789"), (END, "query: 0123")])
async def test_a_cut_leaves_the_prefix_alone(embedder: Embedder, call: Call, truncation: Any, text: str) -> None:
    engine = with_context(await embedder(PREFIXES), len("query: ") + 4)
    request = asked("0123456789", task_type=QUERY, text_truncation=truncation)
    answer = await Embeddings(Registry([engine])).embed(request, call)
    assert told(engine, engine.embedded[0]) == text
    assert (answer.embeddings[0].original_tokens, answer.embeddings[0].truncated) == (17, True)


@pytest.mark.parametrize("dimension", [1, 10, DIMENSION])
async def test_a_matryoshka_model_gives_shorter_vectors_of_length_one(
    embedder: Embedder, call: Call, dimension: int
) -> None:
    answer = await Embeddings(Registry([await embedder()])).embed(asked(output_dimension=dimension), call)
    values = answer.embeddings[0].values
    assert len(values) == dimension
    assert sum(value * value for value in values) == pytest.approx(1)


@pytest.mark.parametrize(
    ("request_", "kind", "field"),
    [
        (asked("a", ""), InvalidField, "contents[1].text"),
        (
            asked(contents=(TextContentItem(text="a"), PICTURE)),
            UnsupportedByModel,
            "contents[1].image",
        ),
        (asked(*"abcde"), InvalidField, "contents"),
        (asked(output_dimension=DIMENSION + 1), InvalidField, "output_dimension"),
        (asked(task_type=QUERY), UnsupportedByModel, "task_type"),
        (asked("x" * (CONTEXT_LENGTH + 1)), ContextLengthExceeded, "contents[0].text"),
    ],
)
async def test_what_cannot_be_honoured_is_refused_with_its_field(
    embedder: Embedder, call: Call, request_: EmbeddingsRequest, kind: type[RequestError], field: str
) -> None:
    engine = await embedder()
    with pytest.raises(kind) as refused:
        await Embeddings(Registry([engine])).embed(request_, call)
    assert [violation.field for violation in refused.value.violations] == [field]
    assert engine.embedded == []


@pytest.mark.parametrize("encoding", EmbeddingEncoding)
async def test_packed_vectors_stand_for_the_same(embedder: Embedder, call: Call, encoding: EmbeddingEncoding) -> None:
    embeddings = Embeddings(Registry([await embedder()]))
    [plain] = (await embeddings.embed(asked(), call)).embeddings
    [packed] = (await embeddings.embed(asked(encoding=encoding), call)).embeddings
    assert (packed.values, plain.packed, plain.scale) == ((), b"", 0)
    vector = unpack(PackedVector(packed.packed, packed.scale), encoding, DIMENSION)
    assert np.dot(vector, plain.values) / np.linalg.norm(vector) > (0.75 if encoding == "binary" else 0.9999)


async def test_vectors_of_another_model_cannot_be_cut(embedder: Embedder, call: Call) -> None:
    engine = await embedder()
    capabilities = engine.model.capabilities.model_copy(update={"output_dimension": False})
    engine.model = engine.model.model_copy(update={"capabilities": capabilities})
    with pytest.raises(UnsupportedByModel, match="Matryoshka"):
        await Embeddings(Registry([engine])).embed(asked(output_dimension=8), call)


async def test_as_many_contents_as_the_limit_are_taken(embedder: Embedder, call: Call) -> None:
    answer = await Embeddings(Registry([await embedder()])).embed(asked(*"abcd"), call)
    assert len(answer.embeddings) == LIMITS.max_contents == 4


@pytest.mark.parametrize(
    ("model_id", "kind"), [("x", ModelNotFound), (LLM, WrongModelType)], ids=["unknown", "of the other type"]
)
async def test_only_an_embedding_model_embeds(registry: Registry, call: Call, model_id: str, kind: type) -> None:
    with pytest.raises(kind):
        await Embeddings(registry).embed(asked(model_id=model_id), call)


async def test_a_model_that_is_not_loaded_yet_asks_for_patience(call: Call) -> None:
    with pytest.raises(ModelNotReady):
        await Embeddings(Registry([ScriptedEmbeddingEngine(EMBEDDER, LIMITS)])).embed(asked(), call)


class FailsOnSome(ScriptedEmbeddingEngine):
    """Fails on texts of two tokens."""

    async def embed(self, request_id: str, token_ids: Sequence[int], dimension: int | None) -> Sequence[float]:
        if len(token_ids) == 2:
            raise EngineFailed("The engine was told to fail.", retry_after_s=1.0)
        return await super().embed(request_id, token_ids, dimension)


async def test_one_failure_fails_the_call_with_its_reason(call: Call) -> None:
    engine = FailsOnSome(EMBEDDER, LIMITS)
    await engine.start()
    with pytest.raises(EngineFailed, match="told to fail"):
        await Embeddings(Registry([engine])).embed(asked("a", "bb", "c", "dd"), call)
