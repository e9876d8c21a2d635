"""How streams are held: not while they are few, never longer than the bound, all until the same moment."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from unittest.mock import Mock

import pytest

from service.engines.vllm.pace import FEW_STREAMS, MESSAGES_A_SECOND, Pace

LONGEST_S = 0.025


@pytest.fixture
def running() -> Iterator[ExitStack]:
    with ExitStack() as streams:
        yield streams


def pace(running: ExitStack, streams: int, longest_s: float = LONGEST_S) -> Pace:
    made = Pace(longest_s)
    for _ in range(streams):
        running.enter_context(made.stream())
    return made


@pytest.mark.parametrize("streams", [0, 1, FEW_STREAMS])
async def test_few_streams_are_never_held(running: ExitStack, streams: int) -> None:
    few = pace(running, streams)
    assert few.hold_s == 0
    waiting = few.wait()
    with pytest.raises(StopIteration):
        waiting.send(None)


@pytest.mark.parametrize("streams", [FEW_STREAMS + 1, 40, 64, 512])
def test_many_are_held_so_that_messages_stay_few_and_never_beyond_the_bound(running: ExitStack, streams: int) -> None:
    assert pace(running, streams).hold_s == min(LONGEST_S, streams / MESSAGES_A_SECOND)


def test_a_bound_of_zero_switches_it_off(running: ExitStack) -> None:
    assert pace(running, 512, longest_s=0).hold_s == 0


def test_a_stream_counts_until_it_ends_however_it_does() -> None:
    ending = Pace(LONGEST_S)
    with ExitStack() as many:
        for _ in range(64):
            many.enter_context(ending.stream())
        with pytest.raises(ValueError, match="broken"), ending.stream():
            raise ValueError("broken")
        assert ending.hold_s > 0
    assert ending.hold_s == 0


async def test_all_go_on_in_the_same_moment_and_again_in_the_next(running: ExitStack) -> None:
    many = pace(running, 64)
    for _ in range(2):
        waiting = [asyncio.create_task(many.wait()) for _ in range(64)]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.sleep(0)
        assert all(task.done() for task in waiting)


async def test_the_process_wakes_up_once_for_all(running: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    timer = Mock(wraps=asyncio.get_running_loop().call_later)
    monkeypatch.setattr(asyncio.get_running_loop(), "call_later", timer)
    many = pace(running, 64)
    async with asyncio.TaskGroup() as group:
        for _ in range(64):
            group.create_task(many.wait())
    assert timer.call_count == 1


async def test_who_gives_up_leaves_the_others_to_go_on(running: ExitStack) -> None:
    many = pace(running, 64)
    leaving, staying = asyncio.create_task(many.wait()), asyncio.create_task(many.wait())
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.wait_for(staying, 5)
    assert leaving.cancelled()
