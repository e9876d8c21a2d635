"""The first machine knows which of the others are there, says which are not, and notices when one is gone."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from service.engines.roll_call import Place, Refused, RollCall, ended, reported
from service.errors import EngineFailed
from service.settings.layout import Layout
from tests.serving import free_port

MODEL = "a-model"
LAYOUT = Layout(data=3, nodes=3, address="127.0.0.1")
FIRST, SECOND = "machine 1 (data-parallel rank 1)", "machine 2 (data-parallel rank 2)"
LONG_S = 60.0


@pytest.fixture
async def roll_call() -> AsyncIterator[RollCall]:
    call = RollCall(MODEL, LAYOUT, free_port())
    yield call
    await call.end()


def place(call: RollCall, node: int, model_id: str = MODEL, layout: Layout = LAYOUT) -> Place:
    return Place(model_id, layout, call._port, node)


@asynccontextmanager
async def begun(call: RollCall) -> AsyncIterator[list[tuple[asyncio.StreamReader, AsyncExitStack]]]:
    """All machines are there, each to be ended by its stack."""
    start = asyncio.create_task(call.begin(LONG_S))
    async with AsyncExitStack() as all_of_them:
        machines = []
        for node in (1, 2):
            stack = await all_of_them.enter_async_context(AsyncExitStack())
            machines.append((asyncio.create_task(enter(call, node, stack)), stack))
        yield [(await task, stack) for task, stack in machines]
        await start


async def enter(call: RollCall, node: int, stack: AsyncExitStack) -> asyncio.StreamReader:
    while True:
        try:
            return await stack.enter_async_context(reported(place(call, node)))
        except ConnectionError:
            await asyncio.sleep(0.01)


async def until_missing(call: RollCall, *names: str) -> None:
    async with asyncio.timeout(LONG_S):
        while list(call.missing) != list(names):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_one_machine_waits_for_nobody() -> None:
    call = RollCall(MODEL, Layout(data=2), 1)
    await call.begin(0.001)
    assert not call.missing
    assert not call.lost


async def test_a_start_says_which_are_missing(roll_call: RollCall) -> None:
    start = asyncio.create_task(roll_call.begin(0.5))
    await until_missing(roll_call, FIRST, SECOND)
    async with AsyncExitStack() as stack:
        there = asyncio.create_task(enter(roll_call, 1, stack))
        with pytest.raises(EngineFailed, match=re.escape(f"After 0.5 s these had not reported: {SECOND}.")):
            await start
        assert not there.done()
        there.cancel()


async def test_all_start_together_and_each_is_missed(roll_call: RollCall) -> None:
    async with begun(roll_call) as [(_, first), (second, _)]:
        assert not roll_call.missing
        loss = asyncio.create_task(roll_call.loss())
        await first.aclose()
        await asyncio.wait_for(loss, LONG_S)
        assert roll_call.lost == [FIRST]
        await roll_call.end()
        await asyncio.wait_for(ended(second), LONG_S)  # has to end as well
    assert roll_call.lost == []


async def test_it_begins_anew(roll_call: RollCall) -> None:
    for _ in range(2):
        async with begun(roll_call):
            assert not roll_call.missing
        await roll_call.end()


@pytest.mark.parametrize(
    ("node", "model_id", "layout", "why"),
    [
        (3, MODEL, LAYOUT, "the others are machines 1 to 2, and it says 3"),
        (0, MODEL, LAYOUT, "the others are machines 1 to 2, and it says 0"),
        (1, "another", LAYOUT, "the model here is 'a-model', not 'another'"),
        (1, MODEL, Layout(data=6, nodes=3, address="127.0.0.1"), "its settings spread the model otherwise"),
    ],
)
async def test_a_stranger_is_refused(roll_call: RollCall, node: int, model_id: str, layout: Layout, why: str) -> None:
    start = asyncio.create_task(roll_call.begin(LONG_S))
    await until_missing(roll_call, FIRST, SECOND)
    with pytest.raises(Refused, match=why):
        async with reported(place(roll_call, node, model_id, layout)):
            pass
    start.cancel()


async def test_a_second_one_of_the_same_number_has_to_wait(roll_call: RollCall) -> None:
    start = asyncio.create_task(roll_call.begin(LONG_S))
    await until_missing(roll_call, FIRST, SECOND)
    async with AsyncExitStack() as stack:
        there = asyncio.create_task(enter(roll_call, 1, stack))
        await until_missing(roll_call, SECOND)
        with pytest.raises(ConnectionError, match="there is a machine 1 already"):
            async with reported(place(roll_call, 1)):
                pass
        there.cancel()
        await until_missing(roll_call, FIRST, SECOND)
    start.cancel()


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"GET / HTTP/1.1\r\n",
        b"[]\n",
        b"{}\n",
        b"x" * 10_000,
        b"[" * 4000 + b"\n",
        b'{"model": "a-model", "machine": true}\n',
        b'{"model": "a-model", "machine": "1"}\n',
    ],
)
async def test_other_talk_is_of_no_effect(roll_call: RollCall, line: bytes) -> None:
    start = asyncio.create_task(roll_call.begin(LONG_S))
    await until_missing(roll_call, FIRST, SECOND)
    reader, writer = await asyncio.open_connection("127.0.0.1", roll_call._port)
    writer.write(line)
    writer.write_eof()
    await asyncio.wait_for(ended(reader), LONG_S)
    writer.close()
    assert roll_call.missing == [FIRST, SECOND]
    start.cancel()


async def test_an_address_in_use_is_told() -> None:
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(EngineFailed, match=f"can't report on 127.0.0.1:{port}"):
            await RollCall(MODEL, LAYOUT, port).begin(1.0)
