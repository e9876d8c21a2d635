"""Turns: one at a time, and nobody waits behind another's flood."""

import asyncio
from contextlib import suppress

from service.decoding.fair_turns import FairTurns


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Queue:
    """Callers who take turns of the same length, and the order in which they had them."""

    def __init__(self, each_s: float = 1.0) -> None:
        self.clock = Clock()
        self.turns = FairTurns(self.clock)
        self.order: list[str] = []
        self.holding = 0
        self.each_s = each_s

    def ask(self, caller: str, times: int = 1) -> list["asyncio.Task[None]"]:
        return [asyncio.create_task(self._turn(caller)) for _ in range(times)]

    async def _turn(self, caller: str) -> None:
        async with self.turns.turn(caller):
            self.holding += 1
            assert self.holding == 1
            self.order.append(caller)
            await asyncio.sleep(0)
            self.clock.now_s += self.each_s
            self.holding -= 1


async def test_one_caller_has_turns_in_the_order_of_arrival() -> None:
    turns = FairTurns()
    order = []

    async def turn(number: int) -> None:
        async with turns.turn("a"):
            order.append(number)
            await asyncio.sleep(0)

    await asyncio.gather(*(turn(number) for number in range(5)))
    assert order == [0, 1, 2, 3, 4]


async def test_callers_take_turns_however_many_each_asks_for() -> None:
    queue = Queue()
    await asyncio.gather(*queue.ask("flood", 10), *queue.ask("a", 3), *queue.ask("b", 2))
    assert sorted(queue.order[:7]) == ["a", "a", "b", "b", "flood", "flood", "flood"]
    assert queue.order[7:] == ["a", *["flood"] * 7]


async def test_idle_time_earns_nothing() -> None:
    queue = Queue()
    await asyncio.gather(*queue.ask("a", 50))
    await asyncio.gather(*queue.ask("a", 6), *queue.ask("late", 6))
    assert queue.order[50:].count("late") == 6
    assert "a" in queue.order[51:54]


async def test_who_leaves_the_queue_takes_no_turn() -> None:
    queue = Queue()
    tasks = queue.ask("a", 5)
    await asyncio.sleep(0)
    for task in tasks[1:4]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert queue.order == ["a", "a"]


async def test_a_turn_that_is_granted_to_who_leaves_in_that_moment_is_passed_on() -> None:
    turns = FairTurns()
    first = turns.turn("a")
    await first.__aenter__()
    leaving, staying = (asyncio.create_task(turns.turn("b").__aenter__()) for _ in range(2))
    await asyncio.sleep(0)
    await first.__aexit__(None, None, None)
    leaving.cancel()
    with suppress(asyncio.CancelledError):
        await leaving
    await asyncio.wait_for(staying, 1)


async def test_a_failure_gives_the_turn_back() -> None:
    turns = FairTurns()
    with suppress(ValueError):
        async with turns.turn("a"):
            raise ValueError
    async with asyncio.timeout(1), turns.turn("a"):
        pass
