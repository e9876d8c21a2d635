"""Servers that refuse, fall silent, have too much to do or end: what callers notice of it."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

import grpc
import pytest

from inferwire.v1 import inference_service_pb2_grpc
from service.client import Client
from service.errors import DeadlineExceeded, EngineFailed
from service.wire.chat import chat_request_to_proto
from tests.e2e.calls import chat
from tests.e2e.steady_calls import Callers
from tests.mesh.calls import FAILS_ALWAYS, FAILS_ONCE, HEALTHY, SILENT, Mesh, connect, seen, under_way
from tests.mesh.proxy import OTHERS
from tests.serving import END_S, ServerProcess

PUSHBACK_S = 1.0  # what the scripted engine says
EJECTIONS = "cluster.generation.outlier_detection.ejections_enforced_consecutive_local_origin_failure"
OVERDUE = "cluster.others.outlier_detection.ejections_detected_consecutive_5xx"
# Of the configuration.
ENOUGH_TO_EJECT, MOST_AT_ONCE = 5, 1024
AT_ONCE = 8
SILENT_CHAT = chat_request_to_proto(chat().model_copy(update={"model_id": SILENT}))
DEADLINE = grpc.StatusCode.DEADLINE_EXCEEDED


def times(mesh: Mesh, request_id: str) -> list[float]:
    """When the attempts at a call ended, by the servers' logs."""
    records = mesh.fleet.records(request_id)
    return sorted(datetime.fromisoformat(record["time"]).timestamp() for record in records)


async def test_a_refused_call_is_sent_again_when_the_server_said(mesh: Mesh) -> None:
    async with mesh.channel() as channel:
        await Client.over(channel).chat(chat(FAILS_ONCE, tokens=1), request_id="refused")
    logged = mesh.envoy.logged("refused")
    assert (logged["attempts"], logged["grpc_status"]) == (3, 0)
    first, second, third = times(mesh, "refused")
    assert second - first >= PUSHBACK_S
    assert third - second >= PUSHBACK_S


async def test_who_is_refused_in_the_end_learns_all_that_the_server_said(mesh: Mesh) -> None:
    async with mesh.channel() as channel:
        with pytest.raises(EngineFailed) as failed:
            await Client.over(channel).chat(chat(FAILS_ALWAYS, tokens=1), request_id="refused-for-good")
    assert failed.value.retry_after_s == PUSHBACK_S
    assert mesh.envoy.logged("refused-for-good")["attempts"] == 3
    assert len({record["time"] for record in mesh.fleet.records("refused-for-good")}) == 3


async def test_statuses_eject_nobody(mesh: Mesh) -> None:
    before = mesh.envoy.stat(OVERDUE)
    async with mesh.channel() as channel:
        for _ in range(20):
            with pytest.raises(grpc.aio.AioRpcError, match="UNIMPLEMENTED"):
                await channel.unary_unary("/inferwire.v1.InferenceService/Sing")(b"", timeout=END_S)
    # By Envoy's usual rules both would have been.
    assert mesh.envoy.stat(OVERDUE) > before
    assert [mesh.envoy.health(server.target, OTHERS) for server in mesh.fleet.servers] == [HEALTHY, HEALTHY]


async def test_calls_of_a_server_that_falls_silent_go_to_the_other(mesh: Mesh) -> None:
    stalled, other = mesh.fleet.servers
    ejections = mesh.envoy.stat(EJECTIONS)
    await connect(mesh)
    async with mesh.channel() as channel:
        client = Client.over(channel)
        calls = [asyncio.ensure_future(client.chat(chat(tokens=100))) for _ in range(2 * ENOUGH_TO_EJECT)]
        assert await seen(lambda: mesh.envoy.calls_at(stalled.target) == ENOUGH_TO_EJECT)
        with stopped(stalled):
            answers = await asyncio.gather(*calls)
            assert mesh.envoy.stat(EJECTIONS) == ejections + 1
            await client.chat(chat(tokens=1), request_id="after-ejection")
    assert [answer.usage.completion_tokens for answer in answers] == [100] * len(calls)
    logged = mesh.envoy.logged("after-ejection")
    assert (logged["server"], logged["attempts"]) == (other.target, 1)
    await asyncio.to_thread(mesh.wait_until_all_serve)


@contextmanager
def stopped(server: ServerProcess) -> Iterator[None]:
    server.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        server.process.send_signal(signal.SIGCONT)


async def test_more_calls_than_envoy_lets_through_are_refused_at_once(mesh: Mesh) -> None:
    async with mesh.channel() as channel, mesh.channel() as another:
        stub = inference_service_pb2_grpc.InferenceServiceStub(channel)  # type: ignore[no-untyped-call]
        waiting = [stub.ChatCompletion(SILENT_CHAT) for _ in range(MOST_AT_ONCE)]
        assert await seen(lambda: sum(under_way(mesh)) == MOST_AT_ONCE)
        with pytest.raises(grpc.aio.AioRpcError, match="UNAVAILABLE"):
            await Client.over(another).chat(chat(tokens=1), request_id="one-too-many")
        assert mesh.envoy.logged("one-too-many")["flags"] == "UO"
        assert len(await Client.over(another).models()) == 4
        for call in waiting:
            call.cancel()
        assert await seen(lambda: sum(under_way(mesh)) == 0)
        await Client.over(another).chat(chat(tokens=1))


def calls_under_way(mesh: Mesh) -> int:
    return sum(mesh.envoy.calls_at(server.target) for server in mesh.fleet.servers)


async def test_a_server_that_drains_loses_no_call(mesh: Mesh) -> None:
    leaving, staying = mesh.fleet.servers
    async with mesh.channel() as channel:
        callers = Callers(Client.over(channel), at_least=0)
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(callers.work())
            assert await serves_more(leaving)
            leaving.terminate()
            assert await asyncio.to_thread(leaving.wait) == 0
            assert await serves_more(staying)
            callers.over = True
    print(f"{callers.calls} calls while a server ended, {len(callers.failures)} failures")
    assert callers.failures == []
    await asyncio.to_thread(mesh.fleet.replace, 0)
    await asyncio.to_thread(mesh.wait_until_all_serve)


async def serves_more(server: ServerProcess) -> bool:
    """Whether it serves further calls, by its log."""
    before = served_by(server)
    return await seen(lambda: served_by(server) >= before + AT_ONCE)


def served_by(server: ServerProcess) -> int:
    return server.logged().count('"Call"')


async def test_a_deadline_reaches_the_server(mesh: Mesh) -> None:
    ids = [f"deadline-{number}" for number in range(8)]
    async with mesh.channel() as channel:
        client = Client.over(channel)
        calls = (client.chat(chat(tokens=3000), timeout_s=1, request_id=request_id) for request_id in ids)
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(outcome, DeadlineExceeded) or code_of(outcome) == DEADLINE for outcome in outcomes)
    assert await seen(lambda: all(map(mesh.fleet.records, ids)))
    # A server that doesn't know the deadline only learns that the call was cancelled. One that does may, when the
    # machine is busy, learn it first.
    assert DEADLINE.name in [record["code"] for request_id in ids for record in mesh.fleet.records(request_id)]


def code_of(outcome: object) -> grpc.StatusCode | None:
    return outcome.code() if isinstance(outcome, grpc.aio.AioRpcError) else None
