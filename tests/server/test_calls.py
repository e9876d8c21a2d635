"""Calls that succeed: their answers, their events, and what they cost."""

import asyncio
import re
from typing import Any

import pytest

from inferwire.v1 import chat_pb2
from service.engines.scripted import Reply
from tests.server.serving import EMBEDDER, LLM, Running, answers, language, request, running, trailing

USER = {"user": {"content": {"text": "Hello?"}}}
REQUESTS: dict[str, dict[str, Any]] = {
    "Completion": {"model_id": LLM, "content": {"text": "Once"}},
    "StreamCompletion": {"model_id": LLM, "content": {"text": "Once"}},
    "ChatCompletion": {"model_id": LLM, "messages": [USER]},
    "StreamChatCompletion": {"model_id": LLM, "messages": [USER]},
    "Embeddings": {"model_id": EMBEDDER, "contents": [{"text": "cat"}]},
    "Score": {"model_id": EMBEDDER, "pairs": [{"query": "cat", "document": "dog"}]},
    "Rerank": {"model_id": EMBEDDER, "query": "cat", "documents": [{"text": "dog"}]},
    "Tokenize": {"model_id": LLM, "text": {"text": "cat"}},
    "Detokenize": {"model_id": LLM, "token_ids": [66, 64]},
    "ListModels": {},
    "GetModel": {"model_id": LLM},
    "GetLoad": {},
}
GENERATING = [name for name in REQUESTS if "Completion" in name]
STREAMS = [name for name in GENERATING if name.startswith("Stream")]
every_method = pytest.mark.parametrize("method", REQUESTS)
every_generation = pytest.mark.parametrize("method", GENERATING)
every_stream = pytest.mark.parametrize("method", STREAMS)


def ask(method: str, **fields: Any) -> Any:
    return request(method, **REQUESTS[method] | fields)


def event_type_of(chunk: Any) -> int:
    return chunk.event.event_type if hasattr(chunk, "event") else chunk.event_type


def delta_of(chunk: Any) -> str:
    return chunk.event.delta.text.text if hasattr(chunk, "event") else chunk.delta


async def test_a_chat_is_answered(server: Running) -> None:
    (answer,) = await server.answers("ChatCompletion", ask("ChatCompletion"), x_request_id="mine")
    assert answer.completion_message.content.text == "Hi."
    assert (answer.model_id, answer.request_id) == (LLM, "mine")
    assert [metric.metric for metric in answer.metrics] == ["prompt_tokens", "completion_tokens", "total_tokens"]


async def test_a_text_is_continued(server: Running) -> None:
    (answer,) = await server.answers("Completion", ask("Completion", logprobs={"top_k": 3}), x_request_id="mine")
    assert (answer.content, answer.request_id) == ("Hi.", "mine")
    assert [len(position.logprobs_by_token) for position in answer.logprobs] == [3, 3, 3]


async def test_texts_are_embedded(server: Running) -> None:
    (answer,) = await server.answers("Embeddings", ask("Embeddings"), x_request_id="mine")
    assert [len(embedding.values) for embedding in answer.embeddings] == [64]
    assert (answer.model_id, answer.request_id, answer.usage.prompt_tokens) == (EMBEDDER, "mine", 3)


async def test_models_are_told(server: Running) -> None:
    (listed,) = await server.answers("ListModels", ask("ListModels"))
    (one,) = await server.answers("GetModel", ask("GetModel"))
    assert [model.identifier for model in listed.models] == [LLM, EMBEDDER]
    assert one.model == listed.models[0]


@every_stream
async def test_a_stream_is_one_start_progress_and_one_complete_numbered(server: Running, method: str) -> None:
    chunks = await server.answers(method, ask(method), x_request_id="mine")
    start, *progress, complete = chunks
    assert [chunk.sequence for chunk in chunks] == list(range(len(chunks)))
    assert event_type_of(start) == chat_pb2.RESPONSE_EVENT_TYPE_START
    assert {event_type_of(chunk) for chunk in progress} == {chat_pb2.RESPONSE_EVENT_TYPE_PROGRESS}
    assert event_type_of(complete) == chat_pb2.RESPONSE_EVENT_TYPE_COMPLETE
    assert "".join(map(delta_of, chunks)) == "Hi."
    assert (start.model_id, start.request_id) == (LLM, "mine")
    assert complete.usage.completion_tokens == 4


@every_method
async def test_an_id_is_made_for_a_call_without_one(server: Running, method: str) -> None:
    first, *_ = await server.answers(method, ask(method))
    if hasattr(first, "request_id"):
        assert re.fullmatch("[0-9a-f]{32}", first.request_id)


@every_generation
async def test_the_cost_is_told_behind_the_answer_too(server: Running, method: str) -> None:
    under_way = server.call(method, ask(method))
    *_, last = await answers(under_way)
    told = trailing(await under_way.trailing_metadata())
    assert told["inferwire-prompt-tokens"] == str(last.usage.prompt_tokens) != "0"
    assert told["inferwire-cached-tokens"] == "0"
    assert told["inferwire-completion-tokens"] == "4"
    assert told["inferwire-neutralized-spans"] == str(last.usage.neutralized_spans) == "0"


@every_stream
async def test_text_arrives_while_more_is_being_written(method: str) -> None:
    async with running(language(Reply("abc", step_s=0.05))) as served:
        under_way = served.call(method, ask(method))
        arrivals = [asyncio.get_running_loop().time() async for _ in under_way]
        assert arrivals[-1] - arrivals[0] > 0.1


@every_generation
async def test_a_trace_that_the_caller_is_in_is_told_with_the_metrics(server: Running, method: str) -> None:
    trace, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    *_, last = await server.answers(method, ask(method), traceparent=f"00-{trace}-{span}-01")
    assert {(metric.trace_id, metric.span_id) for metric in last.metrics} == {(trace, span)}


async def test_many_calls_at_once_keep_apart(server: Running) -> None:
    asked = {f"call-{n}": ask("StreamCompletion", sampling_params={"max_tokens": 1 + n % 4}) for n in range(50)}
    heard = await asyncio.gather(*(server.answers("StreamCompletion", m, x_request_id=i) for i, m in asked.items()))
    assert [chunks[0].request_id for chunks in heard] == list(asked)
    assert [chunks[-1].usage.completion_tokens for chunks in heard] == [1 + n % 4 for n in range(50)]
