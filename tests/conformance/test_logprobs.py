"""Log probabilities: exact in count and shape, in chat and completion, streamed and not."""

from collections.abc import Callable
from typing import Any

import grpc
import pytest

from inferwire.v1 import inference_service_pb2_grpc
from service.client import Client
from service.errors import InvalidField
from service.wire.chat import chat_request_to_proto
from service.wire.completion import completion_request_to_proto
from tests.conformance.calls import answer, chat, completion, streamed
from tests.conformance.conftest import Served

Ask = Callable[..., Any]
both = pytest.mark.parametrize("ask", [completion, chat])
counts = pytest.mark.parametrize("top", [0, 1, 3, 20])
MAX_TOKENS = 8


@both
@counts
async def test_each_token_of_an_answer_has_exactly_as_many_as_asked_for(client: Client, ask: Ask, top: int) -> None:
    found = await answer(client, ask("The capital of France is", max_tokens=MAX_TOKENS, top_logprobs=top))
    assert 1 <= len(found.logprobs) <= MAX_TOKENS
    assert [len(position.logprobs_by_token) for position in found.logprobs] == [top] * len(found.logprobs)
    assert [len(position.top) for position in found.logprobs] == [top] * len(found.logprobs)


@both
@counts
async def test_streamed_they_come_with_the_text_that_they_belong_to(served: Served, ask: Ask, top: int) -> None:
    request = ask("The capital of France is", max_tokens=MAX_TOKENS, top_logprobs=top)
    deltas = await _raw_deltas(served.target, request)
    assert len(deltas) <= MAX_TOKENS + 2
    assert any(text for text, _ in deltas)
    for text, logprobs in deltas:
        assert bool(text) == bool(logprobs)
        assert all(len(position.logprobs_by_token) == top for position in logprobs)


async def _raw_deltas(target: str, request: Any) -> list[tuple[str, Any]]:
    """Text and log probabilities of each message on the wire, first and last included."""
    async with grpc.aio.insecure_channel(target) as channel:
        stub = inference_service_pb2_grpc.InferenceServiceStub(channel)
        if hasattr(request, "messages"):
            chunks = [chunk async for chunk in stub.StreamChatCompletion(chat_request_to_proto(request))]
            return [(chunk.event.delta.text.text, chunk.event.logprobs) for chunk in chunks]
        chunks = [chunk async for chunk in stub.StreamCompletion(completion_request_to_proto(request))]
        return [(chunk.delta, chunk.logprobs) for chunk in chunks]


@both
async def test_nobody_gets_them_unasked(client: Client, ask: Ask) -> None:
    request = ask("The capital of France is", max_tokens=MAX_TOKENS)
    assert (await answer(client, request)).logprobs == ()
    assert (await streamed(client, request)).logprobs == ()


@both
async def test_greedy_takes_the_first_of_the_ranked_alternatives(client: Client, ask: Ask) -> None:
    found = await answer(client, ask("The capital of France is", max_tokens=MAX_TOKENS, top_logprobs=3))
    for position in found.logprobs:
        assert position.token.rank == 1
        assert position.token == position.top[0]
        assert [token.rank for token in position.top] == [1, 2, 3]
        assert sorted((token.logprob for token in position.top), reverse=True) == [t.logprob for t in position.top]
        assert all(token.logprob <= 0 for token in position.top)


@both
@pytest.mark.parametrize("prompt", ["The capital of France is", "日本の首都は", "Write five emoji: 🦊 🐻 🐼"])
async def test_the_bytes_of_the_tokens_are_the_text(client: Client, ask: Ask, prompt: str) -> None:
    found = await answer(client, ask(prompt, max_tokens=MAX_TOKENS, top_logprobs=0))
    spelled = b"".join(position.token.token_bytes for position in found.logprobs)
    # A budget may end within a character, which is then not shown.
    assert spelled.decode(errors="ignore") == found.text.removesuffix("\ufffd")


@both
async def test_the_map_by_text_tells_the_same_as_the_ranked_list(client: Client, ask: Ask) -> None:
    found = await answer(client, ask("Hi", max_tokens=MAX_TOKENS, top_logprobs=3))
    for position in found.logprobs:
        assert sorted(position.logprobs_by_token.values()) == sorted(token.logprob for token in position.top)


@both
async def test_more_than_the_model_reports_is_refused(client: Client, ask: Ask, served: Served) -> None:
    limit = (await client.model(served.llm)).limits.max_logprobs
    with pytest.raises(InvalidField, match=r"logprobs\.top_k"):
        await answer(client, ask("Hi", max_tokens=2, top_logprobs=limit + 1))
