"""Places and the queue in front of them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.engines.admission import Admission, Bounds, Bulk, Quotas, Share
from service.errors import DeadlineExceeded, InferwireError, Overloaded, QuotaExceeded

WIDE = Bounds(running_requests=2, running_tokens=1000, queued_requests=10, queued_tokens=1000)


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Work:
    """Requests that run until they are told to end."""

    def __init__(self, bounds: Bounds = WIDE, shares: dict[str, Share] | None = None) -> None:
        self.clock = Clock()
        self.admission = Admission(bounds, Quotas(shares, clock=self.clock), self.clock)
        self.started: list[str] = []
        self.failed: dict[str, Exception] = {}
        self._ends: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def ask(self, name: str, tokens: int = 10, patience_s: float | None = None, used: int | None = None) -> None:
        """`name` begins with the caller's."""
        self._ends[name] = asyncio.Event()
        self._tasks[name] = asyncio.create_task(self._run(name, tokens, patience_s, used))
        await settle()

    async def _run(self, name: str, tokens: int, patience_s: float | None, used: int | None) -> None:
        try:
            async with self.admission.place(name[0], tokens, patience_s) as place:
                self.started.append(name)
                await self._ends[name].wait()
                place.used = tokens if used is None else used
        except InferwireError as error:
            self.failed[name] = error

    async def end(self, *names: str, after_s: float = 0.0) -> None:
        self.clock.now_s += after_s
        for name in names:
            self._ends[name].set()
            await settle()

    async def cancel(self, *names: str) -> None:
        for name in names:
            self._tasks[name].cancel()
        await settle()

    async def end_all(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        endings = await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        assert not [ending for ending in endings if isinstance(ending, Exception)]
        assert counts(self.admission) == (0, 0, 0, 0)
        assert not self.admission._callers


@asynccontextmanager
async def at_work(bounds: Bounds = WIDE, shares: dict[str, Share] | None = None) -> AsyncIterator[Work]:
    work = Work(bounds, shares)
    yield work
    await work.end_all()


def counts(admission: Admission) -> tuple[int, int, int, int]:
    return admission.running, admission.running_tokens, admission.queued, admission.queued_tokens


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_there_are_so_many_places_and_the_next_one_waits() -> None:
    async with at_work() as work:
        for name in ("a1", "a2", "a3"):
            await work.ask(name)
        assert work.started == ["a1", "a2"]
        assert counts(work.admission) == (2, 20, 1, 10)
        await work.end("a2")
        assert work.started == ["a1", "a2", "a3"]


async def test_tokens_are_bounded_too() -> None:
    async with at_work() as work:
        await work.ask("a1", 900)
        await work.ask("a2", 200)
        assert work.started == ["a1"]
        await work.end("a1")
        assert work.started == ["a1", "a2"]


async def test_one_that_is_larger_than_everything_has_its_turn_alone() -> None:
    async with at_work(Bounds(2, 1000, 10, 10_000)) as work:
        await work.ask("a1", 5000)
        assert work.started == ["a1"]
        await work.ask("a2", 5000)
        await work.ask("a3", 1)
        assert work.started == ["a1"], "a large one is overtaken for good"
        await work.end("a1")
        await work.end("a2")
        assert work.started == ["a1", "a2", "a3"]


async def test_a_full_queue_refuses_and_says_when_to_come_back() -> None:
    async with at_work() as work:
        for number in range(12):
            await work.ask(f"a{number}")
        await work.ask("a-late")
        refused = work.failed["a-late"]
        assert isinstance(refused, Overloaded)
        assert refused.retry_after_s
        with pytest.raises(Overloaded):
            work.admission.check("a")
        await work.end("a0")
        work.admission.check("a")


async def test_a_queue_that_is_full_of_tokens_refuses() -> None:
    async with at_work() as work:
        for name in ("a1", "a2", "a3"):
            await work.ask(name, 900)
        await work.ask("a4", 200)
        assert isinstance(work.failed["a4"], Overloaded)


async def test_the_time_to_come_back_follows_the_measured_rate() -> None:
    async with at_work() as work:
        for number in range(12):
            await work.ask(f"a{number}")
        for number in range(6):
            await work.end(f"a{number}", after_s=2.0)
        for number in range(12, 18):
            await work.ask(f"a{number}")
        await work.ask("a-late")
        # One place every two seconds, for the ten in front and then this one.
        assert 22.0 <= (work.failed["a-late"].retry_after_s or 0) <= 22.0 * 1.25  # type: ignore[attr-defined]


async def test_who_would_wait_longer_than_it_can_is_told_at_once() -> None:
    async with at_work() as work:
        await work.ask("a0")
        await work.end("a0", after_s=4.0)
        for number in range(1, 5):
            await work.ask(f"a{number}")
        # Two at a time take four seconds; two wait already.
        await work.ask("a-hurried", patience_s=5.0)
        await work.ask("a-patient", patience_s=7.0)
        assert isinstance(work.failed["a-hurried"], DeadlineExceeded)
        assert "a-patient" not in work.failed
        # One who has asked for nothing yet isn't behind all of another's.
        await work.ask("b-hurried", patience_s=5.0)
        assert "b-hurried" not in work.failed


@pytest.mark.parametrize("calls", [6, 80])
@pytest.mark.parametrize("queued_before", [True, False])
async def test_time_without_a_queue_says_nothing_about_how_long_one_will_wait(calls: int, queued_before: bool) -> None:
    async with at_work() as work:
        work.clock.now_s = 100_000.0  # the clock of a machine that runs for a day
        before = ("x1", "x2", "x3") if queued_before else ()
        for name in before:
            await work.ask(name)
        for name in before:
            await work.end(name, after_s=1.0)
        for number in range(calls):
            await work.ask(f"a{number}")
            await work.end(f"a{number}", after_s=1.0)
            work.clock.now_s += 1000.0
        for name in ("b1", "b2", "b3"):
            await work.ask(name, patience_s=2.0)
        assert not work.failed
        await work.end("b1", after_s=1.0)
        assert work.started[-1] == "b3"


async def test_without_a_measurement_nobody_is_refused_for_its_deadline() -> None:
    async with at_work() as work:
        for number in range(3):
            await work.ask(f"a{number}")
        await work.ask("b", patience_s=0.001)
        assert not work.failed


async def test_a_flood_does_not_starve_another() -> None:
    async with at_work() as work:
        for number in range(12):
            await work.ask(f"a{number}")
        await work.ask("b1")
        await work.ask("b2")
        assert isinstance(work.failed["a11"], Overloaded), "who has most in a full queue makes room"
        await work.end("a0")
        assert work.started[-1] == "b1"
        await work.end("a1")
        assert work.started[-1] in ("a2", "b2")


async def test_tokens_are_shared_by_weight() -> None:
    shares = {"a": Share(weight=3.0), "b": Share(weight=1.0)}
    async with at_work(Bounds(1, 1000, 100, 10_000), shares) as work:
        await work.ask("x")
        for number in range(40):
            await work.ask(f"a{number}", 10)
            await work.ask(f"b{number}", 10)
        await work.end("x")
        for _ in range(39):
            await work.end(work.started[-1])
        served = [name[0] for name in work.started[1:]]
        assert 28 <= served.count("a") <= 32


async def test_what_was_really_used_counts() -> None:
    async with at_work(Bounds(1, 10_000, 100, 100_000)) as work:
        await work.ask("x")
        await work.ask("a1", 10, used=500)
        await work.ask("a2", 10)
        for number in range(4):
            await work.ask(f"b{number}", 100, used=100)
        await work.end("x", "a1", "b0", "b1", "b2", "b3")
        assert work.started == ["x", "a1", "b0", "b1", "b2", "b3", "a2"]


async def test_idle_time_earns_nothing() -> None:
    async with at_work(Bounds(1, 1000, 100, 10_000)) as work:
        for number in range(20):
            await work.ask(f"a{number}")
        for number in range(9):
            await work.end(f"a{number}")
        for number in range(5):
            await work.ask(f"b{number}")
        for _ in range(6):
            await work.end(work.started[-1])
        assert sum(name.startswith("b") for name in work.started[10:]) <= 4


async def test_who_leaves_frees_its_place_and_its_queue() -> None:
    async with at_work() as work:
        for name in ("a1", "a2", "a3", "b1"):
            await work.ask(name)
        await work.cancel("a3", "a1")
        assert work.started == ["a1", "a2", "b1"]
        assert counts(work.admission) == (2, 20, 0, 0)


async def test_who_is_cancelled_in_the_moment_of_its_turn_harms_nobody() -> None:
    async with at_work() as work:
        for name in ("a1", "a2", "a3", "a4"):
            await work.ask(name)
        work._ends["a1"].set()
        await work.cancel("a3")  # in the same moment
        assert work.started == ["a1", "a2", "a4"]


async def test_who_is_cancelled_and_displaced_at_once_harms_nobody() -> None:
    async with at_work() as work:
        for number in range(12):
            await work.ask(f"a{number}")
        asking = asyncio.create_task(work.ask("b1"))
        await asyncio.sleep(0)
        await work.cancel("a11")  # in the same moment
        await asking
        assert "b1" not in work.failed
        await work.end("a0")
        assert work.started[-1] == "b1"


async def test_a_caller_s_calls_are_limited_and_its_place_is_not_lost() -> None:
    async with at_work(shares={"a": Share(concurrent_calls=1)}) as work:
        await work.ask("a1")
        await work.ask("a2")
        await work.ask("b1")
        assert isinstance(work.failed["a2"], QuotaExceeded)
        assert work.started == ["a1", "b1"]
        await work.end("a1")
        await work.ask("a3")
        assert work.started[-1] == "a3"


async def test_a_caller_s_tokens_are_limited_and_come_back_with_time() -> None:
    async with at_work(shares={"a": Share(tokens_per_minute=600)}) as work:
        await work.ask("a1", 100, used=700)
        await work.end("a1")
        await work.ask("a2")
        refused = work.failed["a2"]
        assert isinstance(refused, QuotaExceeded)
        assert refused.retry_after_s == pytest.approx(10.1)
        work.clock.now_s += 10.2
        await work.ask("a3")
        assert work.started[-1] == "a3"


async def test_a_call_that_was_refused_costs_nothing() -> None:
    bounds = Bounds(running_requests=1, running_tokens=100, queued_requests=1, queued_tokens=100)
    async with at_work(bounds, {"a": Share(tokens_per_minute=600)}) as work:
        for number in range(20):
            await work.ask(f"a{number}", 50)
        assert {type(error) for error in work.failed.values()} == {Overloaded}


STEPS = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(1, 1200), st.sampled_from(["ask", "end", "cancel"])), max_size=60
)


@settings(max_examples=60, deadline=None)
@given(STEPS)
async def test_nothing_is_ever_lost_or_exceeded(steps: list[tuple[str, int, str]]) -> None:
    async with at_work() as work:
        for number, (caller, tokens, action) in enumerate(steps):
            open_ones = [n for n, task in work._tasks.items() if not task.done()]
            if action == "ask" or not open_ones:
                await work.ask(f"{caller}{number}", tokens)
            elif action == "end":
                await work.end(open_ones[tokens % len(open_ones)])
            else:
                await work.cancel(open_ones[tokens % len(open_ones)])
            admission = work.admission
            assert admission.running <= WIDE.running_requests
            assert admission.running_tokens <= WIDE.running_tokens or admission.running == 1
            assert admission.queued <= WIDE.queued_requests
            assert admission.queued == sum(len(c.waiting) for c in admission._callers.values())
            assert admission.running > 0 or admission.queued == 0, "a place is free and somebody waits"


class TestBulk:
    """A call of many parts, which wait where calls of their own would be refused."""

    async def test_one_part_waits_at_a_time(self) -> None:
        work = Work(Bounds(running_requests=2, running_tokens=1000, queued_requests=10, queued_tokens=1000))
        async with work.admission.bulk("a") as bulk:
            tasks = [asyncio.create_task(hold(bulk)) for _ in range(10)]
            await settle()
            assert (work.admission.running, work.admission.queued) == (2, 1)
            await cancel_all(tasks)
            assert (work.admission.running, work.admission.queued) == (0, 0)

    async def test_a_full_queue_is_waited_for(self) -> None:
        work = Work(Bounds(running_requests=1, running_tokens=1000, queued_requests=0, queued_tokens=0))
        await work.ask("b")
        async with work.admission.bulk("a") as bulk:
            tasks = [asyncio.create_task(hold(bulk))]
            await settle()
            assert work.admission.running == 1
            await work.end("b")
            assert (work.admission.running, work.failed) == (1, {})
            await cancel_all(tasks)
            assert work.admission.running == 0

    async def test_it_is_one_call_of_its_caller(self) -> None:
        work = Work(shares={"a": Share(concurrent_calls=1)})
        async with work.admission.bulk("a") as bulk:
            tasks = [asyncio.create_task(hold(bulk)) for _ in range(2)]
            await settle()
            assert work.admission.running == 2
            with pytest.raises(QuotaExceeded):
                async with work.admission.bulk("a"):
                    pass
            await cancel_all(tasks)
        async with work.admission.bulk("a"):
            pass

    async def test_it_waits_for_the_tokens_of_its_caller(self) -> None:
        work = Work(shares={"a": Share(tokens_per_minute=6000)})
        async with work.admission.bulk("a") as bulk:
            async with bulk.place(6010) as place:
                place.used = 6010
            waiting = asyncio.create_task(hold(bulk))
            await settle()
            assert work.admission.running == 0
            work.clock.now_s += 1
            await asyncio.sleep(0.2)
            assert work.admission.running == 1
            await cancel_all([waiting])


async def hold(bulk: Bulk) -> None:
    async with bulk.place(10):
        await asyncio.Event().wait()


async def cancel_all(tasks: list["asyncio.Task[None]"]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
