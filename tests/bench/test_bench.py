"""The benchmark counts and compares rightly; how fast anything is, no test says."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from service.bench.accounting import Spent, spent
from service.bench.contenders.base import FailedToStart, Round, RunningElsewhere, process, until_ready
from service.bench.contenders.vllm_options import command_line
from service.bench.report import draw, markdown
from service.bench.run import compare, steps
from service.bench.timing import Figures, Mark, StreamTimes, figures, percentile, run_at_once
from service.bench.workloads import ALL, Ask, Workload

FEW = Workload("few", 3, prompt_words=10, tokens=4, shared_words=6)


def done(tokens_per_s: float, front_s: float | None = 1.0) -> Round:
    spent_ = None if front_s is None else Spent(front_s, 2.0, 2**20, 2**21)
    return Round(Figures(1.0, round(tokens_per_s), 50, 1, 2, 3, 4), spent_)


@pytest.mark.parametrize(("percent", "value"), [(1, 1), (50, 50), (99, 99), (100, 100)])
def test_a_percentile_is_a_value_that_was_seen(percent: int, value: int) -> None:
    assert percentile(range(1, 101), percent) == value
    assert percentile([7.0], percent) == 7


def test_figures_of_streams() -> None:
    streams = [StreamTimes(10.0, [10.1, 10.2, 10.4], tokens=4), StreamTimes(11.0, [11.3], tokens=1)]
    seen = figures(streams, 2.0)
    assert (seen.tokens, seen.messages, seen.tokens_per_s) == (5, 4, 2.5)
    assert (seen.first_p50_ms, seen.first_p99_ms) == pytest.approx((100, 300))
    assert (seen.gap_p50_ms, seen.gap_p99_ms) == pytest.approx((100, 200))


async def test_all_asks_run_at_once() -> None:
    under_way = 0
    most = 0

    async def send(ask: Ask, mark: Mark) -> int:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.01)
        for _ in range(ask.tokens):
            mark()
        under_way -= 1
        return ask.tokens

    seen = await run_at_once(FEW.asks(1), send)
    assert (most, seen.tokens, seen.messages) == (3, 12, 12)


@pytest.mark.parametrize("workload", ALL, ids=lambda workload: workload.name)
def test_prompts_are_the_same_each_time_and_share_what_they_should(workload: Workload) -> None:
    asks = list(workload.asks(1))
    assert asks == list(workload.asks(1))
    assert len({ask.prompt for ask in asks}) == workload.streams
    assert len({tuple(ask.prompt.split()[: workload.shared_words]) for ask in asks}) == 1 or not workload.shared_words
    assert not {ask.prompt for ask in asks} & {ask.prompt for ask in workload.asks(2)}


class Fake:
    constrains = True

    def __init__(self, name: str, order: list[str]) -> None:
        self.name = name
        self.order = order

    @asynccontextmanager
    async def running(self, model: Path, log: Path) -> AsyncIterator[RunningElsewhere]:
        self.order.append(self.name)

        async def send(ask: Ask, mark: Mark) -> int:
            mark()
            return 1

        yield RunningElsewhere(send)


async def test_contenders_run_in_turn_and_none_is_always_first(tmp_path: Path) -> None:
    order: list[str] = []
    told: list[str] = []
    rounds = await compare([Fake("a", order), Fake("b", order)], [FEW], tmp_path, tmp_path, 2, told.append)
    assert order == ["a", "b", "b", "a"]
    assert list(rounds) == [("few", "a"), ("few", "b")]
    assert {len(own) for own in rounds.values()} == {2}
    assert len(told) == steps(2, 1, 2)


def test_the_table_has_medians_spread_and_ratios() -> None:
    rounds = {("w", "raw"): [done(100), done(110), done(90)], ("w", "other"): [done(50), done(50), done(50)]}
    lines = markdown(rounds, "raw").splitlines()
    assert lines[0].startswith("| workload | contender | tok/s |")
    assert lines[2].startswith("| w | raw | 100 ±10 % |")
    assert lines[3].startswith("| w | other | 50 ±0 % (0.50x) |")
    assert len({line.count("|") for line in lines}) == 1


def test_what_is_not_known_has_no_column() -> None:
    table = markdown({("w", "there"): [done(10, None)]}, "raw")
    assert "front-end" not in table


def test_a_plot_is_drawn(tmp_path: Path) -> None:
    file = tmp_path / "plot.png"
    draw({("w", "raw"): [done(100)], ("w", "other"): [done(50)]}, "raw", file)
    assert file.read_bytes().startswith(b"\x89PNG")


def test_a_process_is_accounted_for() -> None:
    before = spent(psutil.Process())
    sum(range(3_000_000))
    used = spent(psutil.Process()).since(before)
    assert used.front_s > 0
    assert used.front_bytes > 2**20


async def test_a_process_that_ends_instead_of_starting_says_why(tmp_path: Path) -> None:
    log = tmp_path / "log"

    async def never() -> bool:
        return False

    async with process(["-c", "raise SystemExit('no such model')"], log) as started:
        with pytest.raises(FailedToStart, match="no such model"):
            await until_ready(started, log, never)


def test_the_engine_s_settings_become_options() -> None:
    options = command_line(Path("/models/a"))
    assert options[:2] == ["--model", "/models/a"]
    assert "--enforce-eager" in options
    assert options[options.index("--distributed-executor-backend") + 1].endswith(".UniProcExecutor")
