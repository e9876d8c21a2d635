"""Sends mutants, several at once, and asks the server afterwards how it is."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import suppress
from typing import Any

import grpc
from grpc_health.v1 import health_pb2

from inferwire.v1 import admin_service_pb2
from tests.fuzz.methods import METHODS, OURS, Method
from tests.fuzz.mutants import Mutant
from tests.fuzz.outcomes import Outcome, Outcomes, failed, succeeded
from tests.fuzz.seeds import SEEDS
from tests.serving import EMBEDDER, LLM

MAX_VIOLATIONS = 200
"""With more of them the run ends: they are of a kind."""
LATE = 0.9
"""The share of its time behind which an answer is late."""
SETTLE_S = 30.0
POLL_S = 0.1
VALID_TIMEOUT_S = 60.0
CUT_OFF = ["Internal error from Core"]
"""What gRPC's client says in place of the status when it has one while it is still sending a stream."""
ATTEMPTS = 20
CHANNEL_OPTIONS = (("grpc.max_receive_message_length", -1), ("grpc.enable_retries", 0))
USEFUL = {
    "ChatCompletion": {"model_id": LLM, "messages": [{"user": {"content": {"text": "Hi"}}}]},
    "Embeddings": {"model_id": EMBEDDER, "contents": [{"text": "cat"}]},
}


def channel_to(target: str) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(target, options=CHANNEL_OPTIONS)


async def fuzz(
    channel: grpc.aio.Channel, mutants: Iterable[Mutant], outcomes: Outcomes, *, at_once: int, timeout_s: float
) -> None:
    """Adds to `outcomes` as they come."""
    waiting = iter(mutants)
    async with asyncio.TaskGroup() as workers:
        for _ in range(at_once):
            workers.create_task(_work(channel, waiting, outcomes, timeout_s))


async def _work(channel: grpc.aio.Channel, waiting: Iterator[Mutant], outcomes: Outcomes, timeout_s: float) -> None:
    for mutant in waiting:
        begun_s = time.monotonic()
        outcome = await outcome_of(channel, mutant, timeout_s)
        took_s = time.monotonic() - begun_s
        outcomes.add(mutant, outcome, late=took_s > LATE * timeout_s)
        if len(outcomes.violations) > MAX_VIOLATIONS:
            return


async def outcome_of(channel: grpc.aio.Channel, mutant: Mutant, timeout_s: float) -> Outcome:
    for _ in range(ATTEMPTS):
        outcome = await _attempt(channel, mutant, timeout_s)
        if outcome.texts[:1] != CUT_OFF:
            break
    return outcome


async def _attempt(channel: grpc.aio.Channel, mutant: Mutant, timeout_s: float) -> Outcome:
    call = _call(channel, mutant.method, mutant.requests, mutant.metadata, mutant.timeout_s or timeout_s)
    try:
        async with asyncio.timeout(timeout_s):  # less than some deadlines
            return succeeded(mutant, [answer async for answer in _answers(mutant.method, call)])
    except grpc.aio.AioRpcError as error:
        return failed(error)
    except TimeoutError:
        return Outcome(grpc.StatusCode.DEADLINE_EXCEEDED)


def _call(
    channel: grpc.aio.Channel, method: Method, requests: tuple[bytes, ...], metadata: Any, timeout_s: float
) -> Any:
    kinds = {
        (False, False): channel.unary_unary,
        (False, True): channel.unary_stream,
        (True, True): channel.stream_stream,
    }
    kind = kinds[method.descriptor.client_streaming, method.descriptor.server_streaming]
    given: Any = iter(requests) if method.descriptor.client_streaming else requests[0]
    return kind(method.path)(given, metadata=metadata, timeout=timeout_s)


async def _answers(method: Method, call: Any) -> AsyncIterator[bytes]:
    if not method.descriptor.server_streaming:
        yield await call
        return
    async for answer in call:
        yield answer
        if method.name == "Watch":  # which has no end of its own
            call.cancel()
            return


async def answer(channel: grpc.aio.Channel, name: str, request: Any) -> bytes:
    """The last answer to a request that is as it should be."""
    call = _call(channel, METHODS[name], (request.SerializeToString(),), (), VALID_TIMEOUT_S)
    return [data async for data in _answers(METHODS[name], call)][-1]


async def warm_up(channel: grpc.aio.Channel) -> None:
    """Sends each valid request once: what the server starts when it is first needed is there afterwards."""
    for seed in (seed for seeds in SEEDS.values() for seed in seeds):
        with suppress(grpc.aio.AioRpcError):
            await answer(channel, seed.method.name, seed.message)


async def ailments(channel: grpc.aio.Channel) -> list[str]:
    """What is wrong with the server after a run: it should be healthy, idle and of use."""
    found = [f"{name or 'the server'} is not SERVING" for name in _services() if not await _serves(channel, name)]
    load = await _settled_load(channel)
    if _busy(load):
        found.append(f"it is still busy: {str(load).replace(chr(10), ' ')}")
    if load.draining:
        found.append("it is draining")
    for name, fields in USEFUL.items():
        try:
            await answer(channel, name, METHODS[name].request(**fields))
        except grpc.aio.AioRpcError as error:
            found.append(f"it refuses a valid {name}: {error.code().name} {error.details()}")
    return found


def _services() -> list[str]:
    return ["", *(service.full_name for module in OURS for service in module.DESCRIPTOR.services_by_name.values())]


async def _serves(channel: grpc.aio.Channel, service: str) -> bool:
    data = await answer(channel, "Check", health_pb2.HealthCheckRequest(service=service))
    return health_pb2.HealthCheckResponse.FromString(data).status == health_pb2.HealthCheckResponse.SERVING


async def _settled_load(channel: grpc.aio.Channel) -> admin_service_pb2.GetLoadResponse:
    """The load, once what the last mutants began has ended; or as it is when that takes too long."""
    left_s = SETTLE_S
    while True:
        data = await answer(channel, "GetLoad", METHODS["GetLoad"].request())
        load = admin_service_pb2.GetLoadResponse.FromString(data)
        if not _busy(load) or left_s <= 0:
            return load
        left_s -= POLL_S
        await asyncio.sleep(POLL_S)


def _busy(load: admin_service_pb2.GetLoadResponse) -> bool:
    return load.in_flight_calls > 0 or any(m.running_requests or m.waiting_requests for m in load.models)
