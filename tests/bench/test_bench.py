"""The benchmark counts and compares rightly; how fast anything is, no test says."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import psutil
import pytest

from service.bench.accounting import Peak, Spent, processes_of
from service.bench.contenders.base import Contender, Measured, Round
from service.bench.contenders.processes import FailedToStart, process, until_ready
from service.bench.contenders.vllm_options import command_line, default_environment
from service.bench.embedding_timing import run_in_turn
from service.bench.embedding_workloads import EMBEDDINGS, EmbeddingWorkload
from service.bench.kinds import KINDS, SPEED, STREAMS
from service.bench.report import Drawing, Group, Rounds, draw, group_tables, starts_table
from service.bench.run import AtTarget, Comparison
from service.bench.timing import Figures, Mark, Send, StreamTimes, figures, percentile, run_at_once, streams_at_once
from service.bench.workloads import CONSTRAINED, TOOL_CALLS, Ask, Workload, warm_ups

STREAM_WORKLOADS = list(STREAMS.workloads)
FEW = Workload("few", 3, prompt_words=10, tokens=4, shared_words=6)


MIB = 2**20


def spent(front_s: float) -> Spent:
    return Spent(front_s, 2.0, MIB, 2 * MIB, front_own_bytes=MIB, front_own_peak_bytes=3 * MIB)


def done(tokens_per_s: float, front_s: float | None = 1.0) -> Round[Figures]:
    seen = Figures(1.0, 4, round(tokens_per_s), 50, 1, 2, 3, 4)
    return Round(seen, None) if front_s is None else Round(seen, spent(front_s), idle_bytes=MIB)


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


async def test_all_streams_run_at_once() -> None:
    under_way = 0
    most = 0

    async def send(mark: Mark) -> int:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.01)
        for _ in range(4):
            mark()
        under_way -= 1
        return 4

    seen = await run_at_once([send, send, send])
    assert (most, seen.streams, seen.tokens, seen.messages) == (3, 3, 12, 12)


async def test_all_requests_are_built_before_any_is_sent() -> None:
    order: list[str] = []

    def prepare(ask: Ask) -> Send:
        order.append("build")

        async def send(mark: Mark) -> int:
            order.append("send")
            mark()
            return 1

        return send

    send_all = streams_at_once(prepare, FEW, 1)
    assert order == ["build"] * 3
    await send_all()
    assert order == ["build"] * 3 + ["send"] * 3


async def test_calls_for_embeddings_are_made_one_after_the_other() -> None:
    order: list[str] = []

    async def embed() -> None:
        order.append("begin")
        await asyncio.sleep(0.001)
        order.append("end")

    seen = await run_in_turn([embed, embed], texts=32)
    assert order == ["begin", "end"] * 2
    assert seen.texts == 64
    assert 1 <= seen.call_p50_ms <= seen.call_p99_ms <= 1000 * seen.seconds


@pytest.mark.parametrize("workload", STREAM_WORKLOADS, ids=lambda workload: workload.name)
def test_prompts_are_the_same_each_time_and_share_what_they_should(workload: Workload) -> None:
    asks = list(workload.asks(1))
    assert asks == list(workload.asks(1))
    assert len({ask.prompt for ask in asks}) == workload.streams
    assert len({tuple(ask.prompt.split()[: workload.shared_words]) for ask in asks}) == 1 or not workload.shared_words
    assert not {ask.prompt for ask in asks} & {ask.prompt for ask in workload.asks(2)}


@pytest.mark.parametrize("workload", EMBEDDINGS, ids=lambda workload: workload.name)
def test_texts_to_embed_are_the_same_each_time(workload: EmbeddingWorkload) -> None:
    calls = list(workload.calls_of(1))
    assert calls == list(workload.calls_of(1))
    assert [len(texts) for texts in calls] == [workload.texts] * workload.calls
    assert len({text for texts in calls for text in texts}) == workload.texts * workload.calls


def test_each_schema_is_warmed_up() -> None:
    warm = list(warm_ups(CONSTRAINED))
    assert [(bool(each.json_schema), bool(each.tool_schema)) for each in warm] == [
        (False, False),
        (True, False),
        (False, True),
    ]


def test_no_two_workloads_or_columns_have_the_same_name() -> None:
    names = [workload.name for kind in KINDS for workload in kind.workloads]
    assert len(names) == len(set(names))
    for kind in KINDS:
        titles = [column.title for table in kind.tables for column in table]
        assert len(titles) == len(set(titles))
        assert set(kind.drawn) <= set(titles)


class Fake(Contender[Workload, Figures]):
    def __init__(self, name: str, order: list[str]) -> None:
        self.name = name
        self.order = order

    def takes(self, workload: Workload) -> bool:
        return not workload.tool_schema

    @asynccontextmanager
    async def running(self, model: Path, log: Path) -> AsyncIterator[Measured[Workload, Figures]]:
        self.order.append(self.name)

        def prepare(ask: Ask) -> Send:
            async def send(mark: Mark) -> int:
                mark()
                return 1

            return send

        yield Measured(partial(streams_at_once, prepare), None)


FAILED_LOG = """\
WARNING 11-23 [utils.py:7] This can cause `OSError: Too many open files`.
(EngineCore pid=7) ERROR 11-23 [core.py:9] ValueError: too little memory
RuntimeError: see above
"""


class Broken(Fake):
    @asynccontextmanager
    async def running(self, model: Path, log: Path) -> AsyncIterator[Measured[Workload, Figures]]:
        raise FailedToStart(FAILED_LOG)
        yield


def comparison(folder: Path, contenders: Sequence[Fake], workloads: Sequence[Workload], rounds: int) -> Comparison:
    return Comparison(contenders, workloads, list(warm_ups(workloads)), folder, folder, rounds)


async def test_contenders_run_in_turn_and_none_is_always_first(tmp_path: Path) -> None:
    order: list[str] = []
    told: list[str] = []
    run = comparison(tmp_path, [Fake("a", order), Fake("b", order)], [FEW], rounds=2)
    outcome = await run.run(told.append)
    assert order == ["a", "b", "b", "a"]
    assert {key: len(own) for key, own in outcome.rounds.items()} == {("few", "a"): 2, ("few", "b"): 2}
    assert {name: len(seconds) for name, seconds in outcome.starts_s.items()} == {"a": 2, "b": 2}
    assert len(told) == run.steps


async def test_a_contender_is_spared_what_it_cannot_do(tmp_path: Path) -> None:
    run = comparison(tmp_path, [Fake("a", [])], [FEW, TOOL_CALLS], rounds=1)
    outcome = await run.run(lambda step: None)
    assert list(outcome.rounds) == [("few", "a")]
    assert run.steps == 2


async def test_one_that_does_not_start_leaves_the_others_their_turn(tmp_path: Path) -> None:
    outcome = await comparison(tmp_path, [Broken("a", []), Fake("b", [])], [FEW], rounds=1).run(lambda step: None)
    assert list(outcome.rounds) == [("few", "b")]
    assert outcome.failures == {"a": "did not start: ValueError: too little memory"}


class Holding(Fake):
    """Its front-end holds what it is told to, workload by workload."""

    def __init__(self, held: list[int]) -> None:
        super().__init__("holding", [])
        self._held = iter(held)

    @asynccontextmanager
    async def running(self, model: Path, log: Path) -> AsyncIterator["Holding"]:  # type: ignore[override]
        yield self

    async def run(self, workload: Workload, seed: int) -> Round[Figures]:
        return replace(done(1), spent=replace(spent(0.0), front_own_bytes=next(self._held)))


async def test_a_streams_memory_is_counted_from_the_least_that_was_held_before(tmp_path: Path) -> None:
    workloads = [replace(FEW, name=name) for name in "abc"]
    run = comparison(tmp_path, [Holding([30, 20, 40, 50])], workloads, rounds=1)
    outcome = await run.run(lambda step: None)
    assert [outcome.rounds[name, "holding"][0].idle_bytes for name in "abc"] == [30, 20, 20]


async def test_a_server_that_runs_already_is_asked(tmp_path: Path) -> None:
    told: list[str] = []
    run = AtTarget(Fake("a", []).running(tmp_path, tmp_path), "there", [FEW], rounds=2)
    outcome = await run.run(told.append)
    assert {key: len(own) for key, own in outcome.rounds.items()} == {("few", "there"): 2}
    assert len(told) == run.steps


def tables(rounds: Rounds) -> list[str]:
    workloads = [Workload(name, 1) for name in dict.fromkeys(name for name, _ in rounds)]
    return group_tables(Group("Group", workloads), STREAMS.tables, rounds, "raw").splitlines()


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_tables_have_medians_spread_and_ratios() -> None:
    rounds = {("w", "raw"): [done(100), done(110), done(90)], ("w", "other"): [done(50), done(50), done(50)]}
    heading, _, head, _, raw, other, _, *cost = tables(rounds)
    assert heading == "## Group"
    assert cells(head)[:3] == ["workload", "contender", "tok/s"]
    assert cells(raw)[:3] == ["w", "raw", "100 ±10 %"]
    assert cells(other)[:3] == ["w", "other", "50 ±0 % (0.50x)"]
    assert len({len(line) for line in (head, raw, other)}) == 1
    assert dict(zip(cells(cost[0]), cells(cost[2]), strict=True))["front-end, KiB/stream"] == "512 ±0 %"


def test_what_was_not_run_is_a_dash_or_no_table() -> None:
    lines = tables({("w", "raw"): [done(100)], ("w", "other"): [done(50)], ("v", "raw"): [done(10)]})
    [missing] = [line for line in lines if cells(line)[:2] == ["v", "other"] and "1.00" not in line][:1]
    assert set(cells(missing)[2:]) == {"-"}
    assert group_tables(Group("Group", [FEW]), STREAMS.tables, {("w", "raw"): [done(1)]}, "raw") == ""


def test_what_is_not_known_has_no_column() -> None:
    lines = tables({("w", "there"): [done(10, None)]})
    assert len(cells(lines[2])) == 2 + len(SPEED)
    assert not any("front-end" in line for line in lines)


def test_starts_have_a_table() -> None:
    last = starts_table({"a": [10.0, 12.0, 11.0]}).splitlines()[-1]
    assert cells(last) == ["a", "11.0 ±9 %"]


def test_a_plot_is_drawn(tmp_path: Path) -> None:
    file = tmp_path / "plot.png"
    rounds = {("w", "raw"): [done(100)], ("w", "other"): [done(50)]}
    draw([Drawing(rounds, STREAMS.column(title)) for title in STREAMS.drawn], "raw", file)
    assert file.read_bytes().startswith(b"\x89PNG")


async def test_a_process_is_accounted_for() -> None:
    processes, peak = processes_of(psutil.Process()), Peak()
    before = processes.spent(peak)
    async with processes.memory_watched(peak):
        held = bytearray(64 * MIB)
        await asyncio.sleep(0.01)
        held.clear()
    sum(range(3_000_000))
    used = processes.spent(peak).since(before)
    assert used.front_s > 0
    assert used.front_bytes > MIB
    assert used.front_own_peak_bytes >= before.front_own_bytes + 48 * MIB


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


def test_defaults_are_vllm_s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_CPU_OMP_THREADS_BIND", "nobind")
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setenv("HOME", "/home")
    left = default_environment()
    assert left["HOME"] == "/home"
    assert not {"VLLM_CPU_OMP_THREADS_BIND", "OMP_NUM_THREADS"} & left.keys()
