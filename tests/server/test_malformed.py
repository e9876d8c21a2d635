"""Requests that no honest client sends, to a server in this process; tests/fuzz sends more to one of its own."""

import random
from typing import Any

import grpc
import pytest
from google.protobuf.message_factory import GetMessageClass
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.server.operations import Operations
from tests.server.serving import EMBEDDER, LLM, METHODS, Failure, Running, answers
from tests.strategies import protos

DEFECTS = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN}


@pytest.fixture(autouse=True)
def nothing_drains(monkeypatch: pytest.MonkeyPatch) -> None:
    """A valid request to drain is read, and that is all: the others come after it."""
    monkeypatch.setattr(Operations, "drain", lambda *_: None)


async def outcome(served: Running, method: str, data: Any) -> grpc.StatusCode:
    try:
        await answers(served.call(method, data))
    except grpc.aio.AioRpcError as error:
        failure = Failure.of(error)
        assert failure.reason, f"{method} {data!r}: {failure}"
        assert failure.request_id
        return failure.code
    return grpc.StatusCode.OK


@pytest.mark.parametrize("method", [name for name in sorted(METHODS) if not METHODS[name].client_streaming])
async def test_random_bytes_are_no_request(server: Running, method: str) -> None:
    chance = random.Random(method)
    codes = [await outcome(server, method, b"\xff" + chance.randbytes(n)) for n in range(30)]
    assert set(codes) == {grpc.StatusCode.INVALID_ARGUMENT}


@pytest.mark.parametrize("method", sorted(METHODS))
@given(data=st.data())
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
async def test_no_message_that_protobuf_can_carry_finds_a_defect(server: Running, method: str, data: Any) -> None:
    message = data.draw(protos.any_message(METHODS[method].input_type))
    if hasattr(message, "model_id") and data.draw(st.booleans()):
        message.model_id = data.draw(st.sampled_from([LLM, EMBEDDER]))
    assert isinstance(message, GetMessageClass(METHODS[method].input_type))
    assert await outcome(server, method, message) not in DEFECTS
