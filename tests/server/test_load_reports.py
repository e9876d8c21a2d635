"""What balancers are told: the load in the trailers of each answer and on a stream beside them, as ORCA has it on the
wire. The reports are read here without the server's own messages.
"""

import asyncio
import re
import struct
import sys
from asyncio.subprocess import PIPE, STDOUT
from base64 import b64decode
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.empty_pb2 import Empty
from google.protobuf.json_format import MessageToJson

from service.engines.scripted import Reply
from service.rpc import load_reports as served
from service.server.load_reports import REMEMBERED_S, Rate
from service.settings import AdmissionSettings
from tests.fuzz.wire_format import FIXED64, LENGTH, parts_of
from tests.server.serving import LLM, PATIENCE_S, Running, language, request, running

KEY = "endpoint-load-metrics-bin"
GRPCURL = str(Path(sys.executable).with_name("grpcurl"))
CHAT = "inferwire.v1.InferenceService/ChatCompletion"
STREAM = "/xds.service.orca.v3.OpenRcaService/StreamCoreMetrics"
# The numbers of OrcaLoadReport's fields.
REQUEST_COST, RPS, EPS, NAMED_METRICS, UTILIZATION = 4, 6, 7, 8, 9
EVERY_SECOND = bytes([0x0A, 0x02, 0x08, 0x01])


def report(data: bytes) -> dict[int, Any]:
    """Its numbers, and its maps, by the numbers of the fields; what is 0 is not there."""
    told: dict[int, Any] = {}
    for part in parts_of(data, Empty.DESCRIPTOR):
        assert isinstance(part.value, bytes)
        if part.wire_type == FIXED64:
            told[part.number] = double(part.value)
        elif part.wire_type == LENGTH:
            key, value = parts_of(part.value, Empty.DESCRIPTOR)
            told.setdefault(part.number, {})[key.value.decode()] = double(value.value)
    return told


def double(value: Any) -> float:
    [number] = struct.unpack("<d", value)
    return float(number)


def chat(model: str = LLM) -> Any:
    return request("ChatCompletion", model_id=model, messages=[{"user": {"content": {"text": "Hi"}}}])


async def told_with(server: Running, message: Any, *options: str) -> dict[int, Any] | None:
    """With the answer to a ChatCompletion. gRPC's library in C, and so in Python, keeps that trailer to itself."""
    command = [GRPCURL, "-plaintext", "-v", *options, "-d", MessageToJson(message), server.address, CHAT]
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=STDOUT)
    shown = (await process.communicate())[0].decode()
    found = re.search(f"^{KEY}: (.*)$", shown, re.MULTILINE)
    assert "trailers received" in shown, shown
    return report(b64decode(found[1] + "==")) if found else None


def stream(server: Running, asked: bytes = b"", **metadata: str) -> Any:
    return server.channel.unary_stream(STREAM)(asked, metadata=tuple(metadata.items()), timeout=PATIENCE_S)


async def test_nothing_is_told_unless_it_is_asked_for() -> None:
    async with running(language()) as server:
        assert await told_with(server, chat()) is None
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await anext(aiter(stream(server)))
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_an_answer_tells_what_it_has_cost_and_how_many_calls_there_are() -> None:
    async with running(language(), load_reports=True) as server:
        [answer] = await server.answers("ChatCompletion", chat())
        usage, told = answer.usage, await told_with(server, chat())
    assert told
    cost = {"prompt_tokens": usage.prompt_tokens, "cached_tokens": 0, "completion_tokens": usage.completion_tokens}
    assert told[REQUEST_COST] == cost
    assert told[RPS] == pytest.approx(2 / REMEMBERED_S, rel=0.2)
    assert told[NAMED_METRICS].keys() == {"running_requests", "queued_requests", "queued_tokens", "cache_usage"}
    assert EPS not in told
    assert UTILIZATION not in told


async def test_a_failure_counts_as_one_where_the_server_is_to_blame() -> None:
    engine = language(Reply("word " * 1000, step_s=0.01))
    async with running(engine, load_reports=True) as server:
        refused = await told_with(server, chat("unknown"))
        assert refused
        assert EPS not in refused
        broken = await told_with(server, chat(), "-max-time", "0.5")
        assert broken
        assert broken[EPS] == pytest.approx(broken[RPS] / 2, rel=0.2)


async def test_the_stream_tells_of_work_that_waits() -> None:
    engine = language(Reply("word " * 1000, step_s=0.01))
    async with running(engine, admission=AdmissionSettings(max_running_requests=2), load_reports=True) as server:
        under_way = [server.call("ChatCompletion", chat()) for _ in range(5)]
        while engine_is_idle(told := report(await anext(aiter(stream(server))))):
            pass
        for call in under_way:
            call.cancel()
    assert told[UTILIZATION] == 2.5
    assert (told[NAMED_METRICS]["running_requests"], told[NAMED_METRICS]["queued_requests"]) == (2, 3)
    assert told[NAMED_METRICS]["queued_tokens"] > 0


def engine_is_idle(told: dict[int, Any]) -> bool:
    return told[NAMED_METRICS]["running_requests"] + told[NAMED_METRICS]["queued_requests"] < 5


async def test_the_stream_goes_on_until_the_server_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "SHORTEST_INTERVAL_S", 0.01)
    async with running(language(), load_reports=True) as server:
        reports = aiter(stream(server))
        for _ in range(3):
            await anext(reports)
        server.stop()
        assert await server.exit_code() == 0


async def test_a_caller_says_how_often(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await asyncio.Event().wait()

    async with running(language(), load_reports=True) as server:
        monkeypatch.setattr(served.asyncio, "sleep", sleep)
        for asked in (b"", EVERY_SECOND, bytes([0x0A, 0x02, 0x08, 0x07])):
            await anext(aiter(stream(server, asked)))
        monkeypatch.undo()
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await anext(aiter(stream(server, bytes([0x0A, 0x03, 0x10, 0xFF, 0x7F, 0x08]))))
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert slept == [1, 1, 7]


async def test_the_stream_is_for_callers_who_may_call() -> None:
    settings = {"identities": [{"name": "balancer", "token": "t" * 20}]}
    async with running(language(), settings=settings, load_reports=True) as server:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await anext(aiter(stream(server)))
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert report(await anext(aiter(stream(server, authorization=f"Bearer {'t' * 20}"))))


def test_a_rate_is_of_late() -> None:
    now = 0.0
    rate = Rate(lambda: now)
    for _ in range(1000):
        now += 0.5
        rate.count()
    assert rate.per_second == pytest.approx(2, rel=0.05)
    now += 10 * REMEMBERED_S
    assert rate.per_second < 0.001
