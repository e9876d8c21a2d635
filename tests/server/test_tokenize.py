"""Tokenize and Detokenize: what a model reads, in places that those who generate don't need."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from service.engines.registry import TOKENIZING
from service.engines.scripted import CONTEXT_LENGTH, ScriptedLanguageEngine
from service.prompts.tokenizer import Prompt, Tokenizer
from tests.server.serving import EMBEDDER, LIMITS, LLM, PATIENCE_S, Running, language, request, running, trailing
from tests.server.test_metrics import HERE, scraped, value

Code = grpc.StatusCode
TEXT = "a é 🦊"
WEATHER = {"tool_name": {"custom": "get_weather"}, "input_schema_json": '{"type": "object"}'}
USER = {"user": {"content": {"text": "Is <|im_end|> a word?"}}}
SHAPE = {"json_schema": {"json_schema": '{"type": "object"}'}}


def tokenize(**fields: Any) -> Any:
    return request("Tokenize", **{"model_id": LLM, **fields})


def detokenize(*token_ids: int, **fields: Any) -> Any:
    return request("Detokenize", **{"model_id": LLM, "token_ids": token_ids, **fields})


async def tokenized(server: Running, **fields: Any) -> Any:
    [answer] = await server.answers("Tokenize", tokenize(**fields))
    return answer


class TestTexts:
    async def test_its_tokens_their_bytes_and_their_places(self, server: Running) -> None:
        answer = await tokenized(server, text={"text": TEXT, "return_spans": True}, return_pieces=True)
        assert b"".join(answer.pieces).decode() == TEXT
        assert answer.count == len(answer.token_ids) == len(answer.pieces) == len(answer.spans) == len(TEXT.encode())
        assert (answer.context_length, answer.model_id) == (CONTEXT_LENGTH, LLM)
        # One token a byte: those of a character share its place.
        places = [(span.start, span.end) for span in answer.spans]
        assert places == [(0, 1), (1, 2), *[(2, 4)] * 2, (4, 5), *[(5, 9)] * 4]

    async def test_only_what_was_asked_for(self, server: Running) -> None:
        answer = await tokenized(server, text={"text": TEXT})
        assert (list(answer.pieces), list(answer.spans)) == ([], [])

    async def test_an_empty_one_has_none(self, server: Running) -> None:
        assert (await tokenized(server, text={})).count == 0

    async def test_it_never_becomes_control_tokens(self, server: Running, llm: ScriptedLanguageEngine) -> None:
        spelled = "a<|im_end|>b"
        answer = await tokenized(server, text={"text": spelled, "return_spans": True}, return_pieces=True)
        assert not set(llm.renderer.tokenizer.control_tokens.values()) & set(answer.token_ids)
        assert b"".join(answer.pieces).decode() == spelled
        assert [span.start for span in answer.spans] == list(range(len(spelled)))
        assert answer.usage.neutralized_spans == 1

    async def test_of_a_completion_they_are_the_prompt(self, server: Running) -> None:
        asked = request("Completion", model_id=LLM, content={"text": TEXT})
        [completed] = await server.answers("Completion", asked)
        assert (await tokenized(server, text={"text": TEXT})).usage == _only_prompt(completed.usage)

    async def test_an_embedding_model_has_some_too(self, server: Running) -> None:
        asked = request("Embeddings", model_id=EMBEDDER, contents=[{"text": TEXT}])
        [embedded] = await server.answers("Embeddings", asked)
        answer = await tokenized(server, model_id=EMBEDDER, text={"text": TEXT})
        assert answer.count == embedded.embeddings[0].original_tokens


def _only_prompt(usage: Any) -> Any:
    usage.completion_tokens = 0
    return usage


class TestConversations:
    @pytest.mark.parametrize(
        "asked",
        [
            {"messages": [USER]},
            {"messages": [{"system": {"content": {"text": "Be brief."}}}, USER], "tools": [WEATHER]},
            {"messages": [USER], "tools": [WEATHER], "tool_config": {"tool_prompt_format": 2}},
            {"messages": [USER], "response_format": SHAPE},
        ],
    )
    async def test_they_are_what_chat_and_preflight_count(self, server: Running, asked: dict[str, Any]) -> None:
        chat = request("ChatCompletion", model_id=LLM, **asked)
        [report] = await server.answers("Preflight", request("Preflight", chat=chat))
        [answered] = await server.answers("ChatCompletion", chat)
        answer = await tokenized(server, conversation=asked, return_pieces=True)
        assert answer.count == report.prompt_tokens == answered.usage.prompt_tokens
        assert b"".join(answer.pieces).decode() == report.prompt
        assert answer.usage.neutralized_spans == answered.usage.neutralized_spans == 1

    async def test_one_that_the_model_could_not_take_is_counted(self) -> None:
        long = {"messages": [{"user": {"content": {"text": "x" * CONTEXT_LENGTH}}}]}
        limits = LIMITS.model_copy(update={"max_tokenized_tokens": 2 * CONTEXT_LENGTH})
        async with running(ScriptedLanguageEngine(LLM, limits)) as server:
            answer = await tokenized(server, conversation=long)
            assert answer.count > answer.context_length == CONTEXT_LENGTH


TOO_LONG = "word " * LIMITS.max_tokenized_tokens
PICTURE = {"items": {"items": [{"text": "a"}, {"image": {"url": "https://example.com/cat.png"}}]}}


@pytest.mark.parametrize(
    ("asked", "reason", "fields"),
    [
        (tokenize(), "INVALID_FIELD", [""]),
        (tokenize(text={"text": TOO_LONG[:2049]}), "MESSAGE_TOO_LARGE", ["text.text"]),
        (tokenize(conversation={"messages": []}), "INVALID_FIELD", ["conversation.messages"]),
        (
            tokenize(conversation={"messages": [{"user": {"content": {"text": TOO_LONG[:2049]}}}]}),
            "MESSAGE_TOO_LARGE",
            ["conversation.messages"],
        ),
        (
            tokenize(conversation={"messages": [USER, {"user": {"content": PICTURE}}]}),
            "INVALID_FIELD",
            ["conversation.messages[1]"],
        ),
        (
            tokenize(conversation={"messages": [USER, {"user": {}}]}),
            "INVALID_FIELD",
            ["conversation.messages[1].user.content"],
        ),
        (
            tokenize(conversation={"messages": [USER], "tools": [WEATHER, WEATHER]}),
            "INVALID_FIELD",
            ["conversation.tools[1].tool_name"],
        ),
        (detokenize(65, -1, 66, 2**31 - 1), "INVALID_FIELD", ["token_ids[1]", "token_ids[3]"]),
        (detokenize(*[65] * 2049), "MESSAGE_TOO_LARGE", ["token_ids"]),
    ],
)
async def test_what_is_wrong_is_named(server: Running, asked: Any, reason: str, fields: list[str]) -> None:
    failure = await server.failure(type(asked).__name__.removesuffix("Request"), asked)
    assert (failure.code, failure.reason, failure.fields) == (Code.INVALID_ARGUMENT, reason, fields)


async def test_of_too_many_tokens_both_numbers_are_told(server: Running) -> None:
    failure = await server.failure("Tokenize", tokenize(text={"text": "x" * 2049}))
    assert failure.facts == {"tokens": "2049", "limit": "2048"}


async def test_an_embedding_model_reads_no_conversation(server: Running) -> None:
    failure = await server.failure("Tokenize", tokenize(model_id=EMBEDDER, conversation={"messages": [USER]}))
    assert (failure.code, failure.reason) == (Code.FAILED_PRECONDITION, "WRONG_MODEL_TYPE")


class TestDetokenizing:
    async def test_tokens_become_their_text_again(self, server: Running) -> None:
        tokens = await tokenized(server, text={"text": TEXT})
        [answer] = await server.answers("Detokenize", detokenize(*tokens.token_ids))
        assert (answer.text, answer.data.decode()) == (TEXT, TEXT)
        assert (answer.usage.prompt_tokens, answer.model_id) == (tokens.count, LLM)

    async def test_a_part_of_a_character_is_its_bytes(self, server: Running) -> None:
        tokens = await tokenized(server, text={"text": "é"})
        [answer] = await server.answers("Detokenize", detokenize(tokens.token_ids[0]))
        assert (answer.text, answer.data) == ("\ufffd", "é".encode()[:1])

    @pytest.mark.parametrize(("skip", "text"), [(False, "a<|im_end|>"), (True, "a")])
    async def test_special_tokens_may_be_left_out(
        self, server: Running, llm: ScriptedLanguageEngine, skip: bool, text: str
    ) -> None:
        end = llm.renderer.tokenizer.control_tokens["<|im_end|>"]
        a = llm.renderer.text("a").token_ids
        [answer] = await server.answers("Detokenize", detokenize(*a, end, skip_special_tokens=skip))
        assert (answer.text, answer.data.decode()) == (text, text)

    async def test_more_ids_than_a_request_may_have_elements(self, server: Running) -> None:
        count = LIMITS.max_elements + 1
        [answer] = await server.answers("Detokenize", detokenize(*[65] * count))
        assert len(answer.data) == count


class TestCost:
    async def test_it_is_told_and_counted_apart_from_what_engines_read(self) -> None:
        async with running(language(), settings=HERE) as server:
            under_way = server.call("Tokenize", tokenize(text={"text": "abc"}))
            assert (await under_way).usage.prompt_tokens == 3
            assert trailing(await under_way.trailing_metadata())["inferwire-prompt-tokens"] == "3"
            await server.answers("Detokenize", detokenize(1, 2))
            samples = await scraped(server)
            whose = {"model": LLM, "identity": "anonymous"}
            assert value(samples, "tokenized_tokens_total", **whose) == 5
            assert value(samples, "prompt_tokens_total", **whose) is None
            [load] = await server.answers("GetLoad", request("GetLoad"))
            assert load.models[0].prompt_tokens_total == 0

    async def test_it_is_not_charged(self) -> None:
        async with running(language(), settings={"anonymous": {"tokens_per_minute": 1}}) as server:
            for _ in range(3):
                await server.answers("Tokenize", tokenize(text={"text": "abc"}))
            await server.answers("Completion", request("Completion", model_id=LLM, content={"text": "Once"}))
            await server.failure("Completion", request("Completion", model_id=LLM, content={"text": "Once"}))
            await server.answers("Tokenize", tokenize(text={"text": "abc"}))


class Held:
    """Texts that are read only once they may be."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.go_on = threading.Event()
        self.read = 0


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    held, encode = Held(), Tokenizer.encode_untrusted

    def slow(tokenizer: Tokenizer, text: str) -> Prompt:
        if text == "slow":
            held.begun.release()
            assert held.go_on.wait(PATIENCE_S)
            held.read += 1
        return encode(tokenizer, text)

    monkeypatch.setattr(Tokenizer, "encode_untrusted", slow)
    yield held
    held.go_on.set()


SLOW = tokenize(text={"text": "slow"})


async def all_places_taken(server: Running, held: Held) -> list[Any]:
    calls = [server.call("Tokenize", SLOW) for _ in range(TOKENIZING.running_requests)]
    for _ in calls:
        assert await asyncio.to_thread(held.begun.acquire, timeout=PATIENCE_S)
    return calls


class TestPlaces:
    async def test_chats_go_on_while_all_are_taken(self, server: Running, held: Held) -> None:
        calls = await all_places_taken(server, held)
        [answer] = await server.answers("ChatCompletion", request("ChatCompletion", model_id=LLM, messages=[USER]))
        assert answer.completion_message.content.text == "Hi."
        held.go_on.set()
        await asyncio.gather(*calls)

    async def test_a_deadline_counts_while_a_call_waits(self, server: Running, held: Held) -> None:
        calls = await all_places_taken(server, held)
        failure = await server.failure("Tokenize", SLOW, timeout_s=0.2)
        assert failure.code is Code.DEADLINE_EXCEEDED
        held.go_on.set()
        await asyncio.gather(*calls)
        assert held.read == TOKENIZING.running_requests

    async def test_who_is_cancelled_gives_the_place_in_the_queue_back(self, server: Running, held: Held) -> None:
        calls = await all_places_taken(server, held)
        waiting = server.call("Tokenize", SLOW)
        in_queue = server.call("Tokenize", tokenize(text={"text": "quick"}))
        waiting.cancel()
        held.go_on.set()
        await asyncio.gather(*calls)
        assert (await in_queue).count == 5
        assert held.read == TOKENIZING.running_requests
