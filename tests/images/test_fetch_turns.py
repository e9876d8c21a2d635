"""Who may fetch next."""

import asyncio

import pytest

from service.errors import Overloaded
from service.images.fetch_turns import FetchTurns


class Fetch:
    """One that is under way until it is told to end."""

    def __init__(self, turns: FetchTurns, caller: str, host: str) -> None:
        self._end = asyncio.Event()
        self.has_turn = False
        self.task = asyncio.create_task(self._run(turns, caller, host))

    async def _run(self, turns: FetchTurns, caller: str, host: str) -> None:
        async with turns.turn(caller, host):
            self.has_turn = True
            await self._end.wait()

    async def end(self) -> None:
        self._end.set()
        await self.task


async def begun(turns: FetchTurns, *whose: tuple[str, str]) -> list[Fetch]:
    """Each with its caller and its host, in this order."""
    fetches = [Fetch(turns, caller, host) for caller, host in whose]
    await settled()
    return fetches


async def settled() -> None:
    """Whoever has something to do has done it: nothing here waits for anything but for each other."""
    for _ in range(5):
        await asyncio.sleep(0)


def have_turns(fetches: list[Fetch]) -> list[bool]:
    return [fetch.has_turn for fetch in fetches]


async def finish(fetches: list[Fetch]) -> None:
    for fetch in fetches:
        fetch._end.set()
    await asyncio.gather(*(fetch.task for fetch in fetches), return_exceptions=True)


async def test_a_slow_host_leaves_turns_for_others() -> None:
    turns = FetchTurns(3, 2, 9, 1)
    fetches = await begun(turns, *[("me", "slow")] * 4, ("me", "other"))
    assert have_turns(fetches) == [True, True, False, False, True]
    await fetches[4].end()
    await settled()
    assert have_turns(fetches) == [True, True, False, False, True]
    await fetches[0].end()
    await settled()
    assert have_turns(fetches) == [True, True, True, False, True]
    await finish(fetches)


async def test_the_next_is_of_the_caller_who_has_the_fewest() -> None:
    turns = FetchTurns(2, 2, 9, 1)
    fetches = await begun(turns, *[("busy", "host")] * 5, ("calm", "host"))
    assert have_turns(fetches) == [True, True, False, False, False, False]
    await fetches[0].end()
    await settled()
    assert have_turns(fetches) == [True, True, False, False, False, True]
    await finish(fetches)


async def test_those_of_one_caller_come_in_their_order() -> None:
    turns = FetchTurns(1, 1, 9, 1)
    fetches = await begun(turns, *[("me", "host")] * 3)
    for position, fetch in enumerate(fetches):
        assert have_turns(fetches) == [n <= position for n in range(3)]
        await fetch.end()
        await settled()


async def test_too_many_of_one_caller_are_refused_and_no_others() -> None:
    turns = FetchTurns(1, 1, 2, 1)
    fetches = await begun(turns, *[("me", "host")] * 4, ("you", "host"))
    with pytest.raises(Overloaded):
        await fetches[3].task
    assert not fetches[4].task.done()
    await finish(fetches)


async def test_who_goes_leaves_the_turn_to_the_next() -> None:
    turns = FetchTurns(1, 1, 9, 1)
    async with turns.turn("me", "host"):
        fetches = await begun(turns, *[("me", "host")] * 3)
        fetches[0].task.cancel()  # while it waits
        await settled()
        assert fetches[0].task.cancelled()
    fetches[1].task.cancel()  # in the moment in which it was granted
    await settled()
    assert have_turns(fetches) == [False, False, True]
    await fetches[2].end()
    [later] = await begun(turns, ("me", "host"))
    assert later.has_turn
    await later.end()
    assert not turns._waiting
    assert not turns._by_caller
    assert not turns._by_host


async def test_none_begins_while_too_much_is_held() -> None:
    turns = FetchTurns(2, 2, 9, 100)
    turns.hold(60)
    turns.hold(40)
    [fetch] = await begun(turns, ("me", "host"))
    assert not fetch.has_turn
    turns.release(1)
    await settled()
    assert fetch.has_turn
    await fetch.end()
