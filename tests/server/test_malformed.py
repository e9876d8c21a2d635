"""Requests by the thousand that no honest client sends: each gets a clear answer, and the server goes on."""

import asyncio
import random
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.message_factory import GetMessageClass
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.engines.scripted import Reply
from service.server.operations import Operations
from tests.server.serving import EMBEDDER, LLM, METHODS, Failure, Running, answers, embedder, language, request, running
from tests.server.test_calls import REQUESTS
from tests.strategies import protos

MUTANTS = 1500
AT_ONCE = 25
DEFECTS = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN}

VALID: list[tuple[str, Any]] = [
    *((method, request(method, **fields)) for method, fields in REQUESTS.items()),
    (
        "StreamChatCompletion",
        request(
            "StreamChatCompletion",
            model_id=LLM,
            messages=[
                {"system": {"content": {"text": "Be brief."}}},
                {"user": {"content": {"items": {"items": [{"text": "a"}, {"text": "b"}]}}, "context": {"text": "c"}}},
                {
                    "assistant": {
                        "content": {"text": ""},
                        "stop_reason": 1,
                        "tool_calls": [{"call_id": "1", "tool_name": {"custom": "t"}, "arguments_json": "{}"}],
                    }
                },
                {"tool": {"call_id": "1", "tool_name": {"builtin": 1}, "content": {"text": "42"}}},
            ],
            sampling_params={
                "top_p": {"temperature": 0.5, "top_p": 0.5},
                "max_tokens": 3,
                "stop": ["x", "é"],
                "stop_token_ids": [1, 2],
                "seed": -1,
                "logit_bias": {1: 2.0},
                "min_tokens": 1,
            },
            response_format={"json_schema": {"json_schema": '{"type": "object", "properties": {"a": {"enum": [1]}}}'}},
            logprobs={"top_k": 2},
        ),
    ),
    (
        "Completion",
        request(
            "Completion",
            model_id=LLM,
            content={"text": "Once"},
            sampling_params={"top_k": {"top_k": 3}, "repetition_penalty": 1.5},
            response_format={"grammar": {"bnf": {"rules": {"root": '"a" | [b-c]+'}}}},
        ),
    ),
    (
        "Completion",
        request("Completion", model_id=LLM, content={"text": "x"}, response_format={"regex": {"pattern": "(a|b){2}"}}),
    ),
    (
        "Embeddings",
        request("Embeddings", model_id=EMBEDDER, contents=[{"text": "a"}] * 3, text_truncation=2, output_dimension=8),
    ),
    ("StreamEmbeddings", request("StreamEmbeddings", item={"id": "1", "content": {"text": "a"}})),
    ("Preflight", request("Preflight")),
    ("RegisterModel", request("RegisterModel", model_id="x", metadata={"a": [1, {"b": None}]})),
    ("UnregisterModel", request("UnregisterModel", model_id="x")),
    ("Drain", request("Drain", budget={"seconds": 1})),
    ("GetLoad", request("GetLoad")),
]


@pytest.fixture(autouse=True)
def nothing_drains(monkeypatch: pytest.MonkeyPatch) -> None:
    """A valid request to drain is read, and that is all: the others come after it."""
    monkeypatch.setattr(Operations, "drain", lambda *_: None)


def mutated(data: bytes, chance: random.Random) -> bytes:
    """Bytes changed, cut, doubled, or put in from elsewhere."""
    made = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        place = chance.randint(0, len(made))
        match chance.randrange(5):
            case 0 if made:
                made[place % len(made)] = chance.randrange(256)
            case 1:
                del made[place : place + chance.randint(1, 8)]
            case 2:
                made[place:place] = chance.randbytes(chance.randint(1, 8))
            case 3:
                made += made[place:]
            case _:
                made = made[:place]
    return bytes(made)


def mutants() -> Iterator[tuple[str, bytes]]:
    chance = random.Random(20)
    names = sorted(METHODS)
    for _ in range(MUTANTS):
        method, message = chance.choice(VALID)
        if chance.random() < 0.2:
            yield chance.choice(names), chance.randbytes(chance.randint(0, 64))
        elif chance.random() < 0.2:
            yield chance.choice(names), message.SerializeToString()  # of another method
        else:
            yield method, mutated(message.SerializeToString(), chance)


async def outcome(served: Running, method: str, data: Any) -> grpc.StatusCode:
    try:
        await answers(served.call(method, data))
    except grpc.aio.AioRpcError as error:
        failure = Failure.of(error)
        assert failure.reason, f"{method} {data!r}: {failure}"
        assert failure.request_id
        return failure.code
    return grpc.StatusCode.OK


def test_every_method_is_among_the_valid_requests() -> None:
    assert {method for method, _ in VALID} == set(METHODS)


@pytest.mark.parametrize("method", sorted(METHODS))
async def test_random_bytes_are_no_request(server: Running, method: str) -> None:
    chance = random.Random(method)
    codes = [await outcome(server, method, b"\xff" + chance.randbytes(n)) for n in range(30)]
    # A stream isn't read by a build that doesn't take one.
    unread = METHODS[method].client_streaming
    assert set(codes) == {grpc.StatusCode.UNIMPLEMENTED if unread else grpc.StatusCode.INVALID_ARGUMENT}


async def test_no_mutant_of_a_request_finds_a_defect() -> None:
    engine = language(Reply("ab"))
    async with running(engine, embedder()) as served:
        found: set[grpc.StatusCode] = set()
        waiting = list(mutants())
        for start in range(0, len(waiting), AT_ONCE):
            batch = waiting[start : start + AT_ONCE]
            codes = await asyncio.gather(*(outcome(served, *mutant) for mutant in batch))
            assert not DEFECTS & set(codes), [m for m, code in zip(batch, codes, strict=True) if code in DEFECTS]
            found |= set(codes)
        assert {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND} <= found
        assert engine.running == 0
        assert [method for method, message in VALID if await outcome(served, method, message) in DEFECTS] == []


@pytest.mark.parametrize("method", sorted(METHODS))
@given(data=st.data())
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
async def test_no_message_that_protobuf_can_carry_finds_a_defect(server: Running, method: str, data: Any) -> None:
    message = data.draw(protos.any_message(METHODS[method].input_type))
    if hasattr(message, "model_id") and data.draw(st.booleans()):
        message.model_id = data.draw(st.sampled_from([LLM, EMBEDDER]))
    assert isinstance(message, GetMessageClass(METHODS[method].input_type))
    assert await outcome(server, method, message) not in DEFECTS
