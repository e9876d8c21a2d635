"""How the tokens of many streams are joined: held together, in pairs if the engine is slow, not while few."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from types import SimpleNamespace
from unittest.mock import AsyncMock, Mock

import pytest

from service.engines.vllm import pace as pace_module
from service.engines.vllm.output_stream import WHEN_ASKED, OutputStream
from service.engines.vllm.pace import FEW_STREAMS, MEASURED_TOKENS, MESSAGES_A_SECOND, Pace, PacedStream

LONGEST_S = 0.025
FAST_S, SLOW_S = 0.01, 0.04
MANY = 512


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(pace_module, "time", clock)
    return clock


@pytest.fixture
def running() -> Iterator[ExitStack]:
    with ExitStack() as streams:
        yield streams


def outputs(tokens: int = 1) -> Mock:
    """Of a request whose engine always has some."""
    output = SimpleNamespace(outputs=[SimpleNamespace(token_ids=[7] * tokens)])
    return Mock(spec=OutputStream, next=AsyncMock(return_value=output))


async def pace(running: ExitStack, streams: int, longest_s: float = LONGEST_S) -> Pace:
    """Of so many, each with its first output."""
    made = Pace(longest_s)
    for _ in range(streams):
        await running.enter_context(made.stream(outputs())).next()
    return made


def run(running_pace: Pace, clock: Clock, streams: int, step_s: float) -> None:
    """As an engine that takes so long for a token of each stream."""
    for _ in range(2 * MEASURED_TOKENS):
        clock.now_s += step_s
        for _ in range(streams):
            running_pace.saw(1)


@pytest.mark.parametrize("streams", [0, 1, FEW_STREAMS])
async def test_few_streams_get_each_token_at_once(running: ExitStack, clock: Clock, streams: int) -> None:
    few = await pace(running, streams)
    for step_s in (FAST_S, SLOW_S):
        run(few, clock, streams, step_s)
        assert (few.hold_s, few.tokens) == (0, 1)
    waiting = few.wait()
    with pytest.raises(StopIteration):
        waiting.send(None)


@pytest.mark.parametrize("streams", [FEW_STREAMS + 1, 40, 64, MANY])
async def test_many_are_held_so_that_messages_stay_few_and_never_beyond_the_bound(
    running: ExitStack, clock: Clock, streams: int
) -> None:
    many = await pace(running, streams)
    run(many, clock, streams, FAST_S)
    assert many.hold_s == min(LONGEST_S, streams / MESSAGES_A_SECOND)
    assert many.tokens == 1


@pytest.mark.parametrize(("streams", "tokens"), [(64, 1), (95, 1), (105, 2), (MANY, 2)])
async def test_of_a_slow_engine_none_is_held_and_each_second_is_told_where_each_were_too_many(
    running: ExitStack, clock: Clock, streams: int, tokens: int
) -> None:
    many = await pace(running, streams)
    run(many, clock, streams, SLOW_S)
    assert (many.hold_s, many.tokens) == (0, tokens)
    run(many, clock, streams, FAST_S)
    assert many.hold_s > 0


async def test_a_bound_of_zero_switches_it_off(running: ExitStack, clock: Clock) -> None:
    many = await pace(running, MANY, longest_s=0)
    for step_s in (FAST_S, SLOW_S):
        run(many, clock, MANY, step_s)
        assert (many.hold_s, many.tokens) == (0, 1)


async def test_a_stream_counts_from_its_first_output_until_it_ends_however_it_does() -> None:
    ending = Pace(LONGEST_S)
    with ExitStack() as many:
        streams = [many.enter_context(ending.stream(outputs())) for _ in range(64)]
        assert ending.hold_s == 0
        for stream in streams:
            await stream.next()
        with pytest.raises(ValueError, match="broken"):
            await break_off(ending)
        assert ending.hold_s > 0
    assert ending.hold_s == 0


async def break_off(running_pace: Pace) -> None:
    with running_pace.stream(outputs()) as stream:
        await stream.next()
        raise ValueError("broken")


async def joined(stream: PacedStream, of: Mock) -> int:
    """What is said of the tokens after the first output."""
    await stream.next()
    of.join.assert_not_called()
    await stream.next()
    (tokens,) = of.join.call_args.args
    return int(tokens)


@pytest.mark.parametrize(
    ("streams", "step_s", "expected"),
    [(FEW_STREAMS - 1, FAST_S, 1), (MANY, FAST_S, WHEN_ASKED), (64, SLOW_S, 1), (MANY, SLOW_S, 2)],
)
async def test_streams_do_as_the_pace_says(
    running: ExitStack, clock: Clock, streams: int, step_s: float, expected: int
) -> None:
    many = await pace(running, streams)
    run(many, clock, streams, step_s)
    one = outputs()
    assert await joined(running.enter_context(many.stream(one)), one) == expected


async def test_all_go_on_in_the_same_moment_and_again_in_the_next(running: ExitStack) -> None:
    many = await pace(running, 64)
    for _ in range(2):
        waiting = [asyncio.create_task(many.wait()) for _ in range(64)]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.sleep(0)
        assert all(task.done() for task in waiting)


async def test_the_process_wakes_up_once_for_all(running: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    timer = Mock(wraps=asyncio.get_running_loop().call_later)
    monkeypatch.setattr(asyncio.get_running_loop(), "call_later", timer)
    many = await pace(running, 64)
    async with asyncio.TaskGroup() as group:
        for _ in range(64):
            group.create_task(many.wait())
    assert timer.call_count == 1


async def test_who_gives_up_leaves_the_others_to_go_on(running: ExitStack) -> None:
    many = await pace(running, 64)
    leaving, staying = asyncio.create_task(many.wait()), asyncio.create_task(many.wait())
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.wait_for(staying, 5)
    assert leaving.cancelled()
