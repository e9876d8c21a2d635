"""What calls cost, in counts, which tell of a slower way where a clock can't."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel

from service.engines.scripted import Reply, ScriptedLanguageEngine
from service.prompts.tokenizer import Tokenizer
from tests.server.serving import LIMITS, LLM, Running, request, running

FEW, MANY = 10, 200
# The scripted engine tokenises its reply.
BY_THE_SCRIPT = 1
ASKED: dict[str, dict[str, Any]] = {
    "StreamCompletion": {"content": {"text": "Hi"}},
    "StreamChatCompletion": {"messages": [{"user": {"content": {"text": "Hi"}}}]},
}
streams = pytest.mark.parametrize("method", ASKED)
Count = Callable[[Any, str], list[int]]


@pytest.fixture
def count(monkeypatch: pytest.MonkeyPatch) -> Count:
    """Counts calls of a method."""

    def counted(owner: Any, name: str) -> list[int]:
        own, calls = getattr(owner, name), [0]

        def call(*given: Any, **named: Any) -> Any:
            calls[0] += 1
            return own(*given, **named)

        monkeypatch.setattr(owner, name, call)
        return calls

    return counted


async def stream(server: Running, method: str, tokens: int) -> list[Any]:
    asked = request(method, model_id=LLM, sampling_params={"max_tokens": tokens}, **ASKED[method])
    return await server.answers(method, asked)


def talkative() -> ScriptedLanguageEngine:
    return ScriptedLanguageEngine(LLM, LIMITS, lambda _: Reply("a" * MANY))


@streams
async def test_a_token_is_one_message(method: str) -> None:
    async with running(talkative()) as server:
        assert len(await stream(server, method, MANY)) == len(await stream(server, method, FEW)) + MANY - FEW


@streams
async def test_nothing_is_validated_for_a_token(method: str, count: Count) -> None:
    async with running(talkative()) as server:
        # The first call builds what is kept.
        await stream(server, method, FEW)
        validated, costs = count(BaseModel, "__init__"), []
        for tokens in (FEW, MANY):
            before = validated[0]
            await stream(server, method, tokens)
            costs.append(validated[0] - before)
        assert 0 < costs[0] == costs[1]


@streams
async def test_a_prompt_is_tokenised_once(method: str, count: Count) -> None:
    async with running(talkative()) as server:
        tokenised = count(Tokenizer, "encode")
        await stream(server, method, MANY)
        assert tokenised == [1 + BY_THE_SCRIPT]


@streams
async def test_a_token_starts_no_task(method: str, count: Count) -> None:
    async with running(talkative()) as server:
        made, costs = count(asyncio.get_running_loop(), "create_task"), []
        for tokens in (FEW, MANY):
            before = made[0]
            await stream(server, method, tokens)
            costs.append(made[0] - before)
        assert 0 < costs[0] == costs[1]
