"""A caller's time is an input: nothing is begun that can't be done in it, and what it cost is told at its end."""

import asyncio
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from service.engines.scripted import Reply
from service.settings import AdmissionSettings
from tests.server.serving import LLM, Failure, Running, language, request, running

ENDLESS = Reply("word " * 1000, step_s=0.01)
CHATS = ["ChatCompletion", "StreamChatCompletion", "Completion", "StreamCompletion"]
ONE_PLACE = AdmissionSettings(max_running_requests=1)


def asked(name: str, **fields: Any) -> Any:
    if name.endswith("ChatCompletion"):
        return request(name, model_id=LLM, messages=[{"user": {"content": {"text": "Hi"}}}], **fields)
    return request(name, model_id=LLM, content={"text": "Hi"}, **fields)


def completion_tokens(failure: Failure) -> int:
    return int(failure.trailing["inferwire-completion-tokens"])


async def occupied(server: Running) -> Any:
    """A stream that has the only place."""
    stream = server.call("StreamCompletion", asked("StreamCompletion"))
    await stream.read()
    return stream


@pytest.mark.parametrize("name", CHATS)
async def test_a_call_that_runs_out_of_time_frees_the_engine_and_tells_its_cost(name: str) -> None:
    engine = language(ENDLESS)
    async with running(engine) as server:
        failure = await server.failure(name, asked(name), timeout_s=0.6)
        assert (failure.code, failure.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
        assert completion_tokens(failure) > 5
        assert int(failure.trailing["inferwire-prompt-tokens"]) > 0
        assert engine.running == 0


async def test_one_that_runs_out_of_time_in_the_queue_never_reaches_the_engine() -> None:
    engine = language(ENDLESS)
    async with running(engine, admission=ONE_PLACE) as server:
        first = await occupied(server)
        failure = await server.failure("Completion", asked("Completion"), timeout_s=1.5)
        assert failure.reason == "DEADLINE_EXCEEDED"
        assert completion_tokens(failure) == 0
        assert engine.running == 1
        first.cancel()


async def test_one_that_would_wait_longer_than_it_has_is_refused_at_once() -> None:
    async with running(language(Reply("abc", step_s=0.1)), admission=ONE_PLACE) as server:
        await server.answers("Completion", asked("Completion"))  # about 0.4 s, from now on known
        waiting = [server.call("Completion", asked("Completion")) for _ in range(8)]
        await asyncio.sleep(0.1)
        failure = await server.failure("Completion", asked("Completion"), timeout_s=2.0)
        assert (failure.code, failure.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
        # One whose time had passed would not be told to come back.
        assert failure.retry_after_s
        await asyncio.gather(*waiting)


@pytest.mark.parametrize("name", CHATS)
async def test_the_first_token_has_a_limit_of_its_own(name: str) -> None:
    engine = language(Reply("abc", step_s=5.0))
    async with running(engine) as server:
        failure = await server.failure(name, asked(name, first_token_timeout=Duration(nanos=200_000_000)))
        assert (failure.code, failure.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
        assert "first token" in failure.message
        assert engine.running == 0


@pytest.mark.parametrize("name", CHATS)
async def test_what_comes_after_the_first_token_may_take_longer(name: str) -> None:
    async with running(language(Reply("abcdefghijkl", step_s=0.1))) as server:
        *_, last = await server.answers(name, asked(name, first_token_timeout=Duration(nanos=900_000_000)))
        assert last.usage.completion_tokens == 13
        assert last.timings.total.ToNanoseconds() > 900_000_000


async def test_waiting_for_a_place_counts_as_waiting_for_the_first_token() -> None:
    async with running(language(ENDLESS), admission=ONE_PLACE) as server:
        first = await occupied(server)
        failure = await server.failure(
            "Completion", asked("Completion", first_token_timeout=Duration(nanos=200_000_000))
        )
        assert failure.reason == "DEADLINE_EXCEEDED"
        first.cancel()


@pytest.mark.parametrize("name", CHATS)
async def test_a_limit_must_be_positive(name: str) -> None:
    async with running(language()) as server:
        failure = await server.failure(name, asked(name, first_token_timeout=Duration()))
        assert failure.fields == ["first_token_timeout"]
