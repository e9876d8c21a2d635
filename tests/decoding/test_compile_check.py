"""Grammars are tried in another process, which nothing that is sent to it can hold up for long."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator

import psutil
import pytest

from service.decoding.compile_check import TOO_LONG_TO_COMPILE, CompileCheck, CompileWorker
from service.decoding.expressions import UnusableGrammar
from service.decoding.grammars import GrammarKind
from service.decoding.trial import TOO_LONG_TO_FOLLOW
from service.errors import Overloaded

EBNF, JSON_SCHEMA, REGEX = GrammarKind.EBNF, GrammarKind.JSON_SCHEMA, GrammarKind.REGEX
TAG = GrammarKind.STRUCTURAL_TAG
GONE_WITHIN_S = 20
PATIENCE_S = 60  # no test is decided by how busy the machine is
GOOD = 'root ::= "a" [0-9]+'
AMBIGUOUS = "root ::= root root | [a-z]"
HEAVY = "root ::= " + "[a-z]? " * 2000
UNKNOWN_RULE = "root ::= missing"


@pytest.fixture(scope="module")
def worker() -> Iterator[CompileWorker]:
    """Its process takes seconds to start."""
    worker = CompileWorker()
    yield worker
    worker.end()


@pytest.fixture
async def check(worker: CompileWorker) -> CompileCheck:
    """One that remembers nothing yet."""
    return CompileCheck(worker, wait_s=PATIENCE_S)


@pytest.fixture
async def own_check() -> AsyncIterator[CompileCheck]:
    """One with a process of its own."""
    check = CompileCheck(wait_s=PATIENCE_S)
    yield check
    await check.close()


async def problem(check: CompileCheck, kind: GrammarKind, text: str) -> str | None:
    try:
        await check.check(kind, text)
    except UnusableGrammar as error:
        return str(error)
    return None


def jobs_of(worker: CompileWorker) -> list[psutil.Process]:
    return psutil.Process(worker.process_id).children()


def cpu_s(worker: CompileWorker) -> float:
    """What its jobs have taken."""
    times = psutil.Process(worker.process_id).cpu_times()
    return float(times.children_user + times.children_system)


def gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


async def until(condition) -> None:  # type: ignore[no-untyped-def]
    async with asyncio.timeout(GONE_WITHIN_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (EBNF, GOOD),
        (REGEX, "[a-z]{1,1000}"),
        (REGEX, "é{3}"),
        (JSON_SCHEMA, '{"type": "string", "maxLength": 4000}'),
        (JSON_SCHEMA, '{"type": "string", "pattern": "^a+$"}'),
        (TAG, json.dumps({"type": "structural_tag", "format": {"type": "json_schema", "json_schema": {}}})),
    ],
)
async def test_what_a_decoder_can_use_is_let_through(check: CompileCheck, kind: GrammarKind, text: str) -> None:
    assert await problem(check, kind, text) is None


@pytest.mark.parametrize(
    ("kind", "text", "reason"),
    [
        (EBNF, UNKNOWN_RULE, 'Rule "missing" is not defined'),
        (REGEX, "(?=a)b", "Lookahead"),
        (REGEX, r"a\h", r"The escape `\h`"),
        (JSON_SCHEMA, '{"items": {"type": "string", "pattern": "(?=a)b"}}', "At $.items.pattern, the pattern `(?=a)b`"),
        (JSON_SCHEMA, '{"type": "integer", "minimum": 3, "maximum": 1}', "minimum greater than maximum"),
        (TAG, "{}", "must have a format"),
        (EBNF, AMBIGUOUS, TOO_LONG_TO_FOLLOW),
        (REGEX, "(" * 12 + "a" + "|b){2,3}" * 12, TOO_LONG_TO_FOLLOW),
        (EBNF, HEAVY, TOO_LONG_TO_COMPILE),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_what_a_decoder_cannot_use_is_refused_with_a_reason(
    check: CompileCheck, kind: GrammarKind, text: str, reason: str
) -> None:
    assert reason in (await problem(check, kind, text) or "")


async def test_after_one_that_never_ends_the_next_is_tried(check: CompileCheck, worker: CompileWorker) -> None:
    await check.check(EBNF, GOOD)
    process_id = worker.process_id
    assert await problem(check, EBNF, HEAVY) == TOO_LONG_TO_COMPILE
    assert await problem(check, EBNF, GOOD + " ") is None
    assert worker.process_id == process_id
    await until(lambda: not jobs_of(worker))


async def test_a_verdict_is_remembered() -> None:
    worker = CompileWorker()
    check = CompileCheck(worker, wait_s=PATIENCE_S)
    verdicts = [await problem(check, EBNF, text) for text in (GOOD, UNKNOWN_RULE)]
    worker.end()
    assert [await problem(check, EBNF, text) for text in (GOOD, UNKNOWN_RULE)] == verdicts
    assert worker.process_id is None


async def test_the_same_text_of_another_kind_has_a_verdict_of_its_own(check: CompileCheck) -> None:
    assert await problem(check, REGEX, UNKNOWN_RULE) is None
    assert await problem(check, EBNF, UNKNOWN_RULE)


async def test_many_who_ask_for_the_same_share_one_trial(check: CompileCheck, worker: CompileWorker) -> None:
    await check.check(EBNF, GOOD)
    before = cpu_s(worker)
    assert set(await asyncio.gather(*(problem(check, EBNF, HEAVY) for _ in range(50)))) == {TOO_LONG_TO_COMPILE}
    assert cpu_s(worker) - before < 2


async def test_a_caller_who_leaves_takes_nobody_s_verdict(check: CompileCheck) -> None:
    await check.check(EBNF, GOOD)
    leaving = asyncio.create_task(problem(check, EBNF, AMBIGUOUS))
    staying = asyncio.create_task(problem(check, EBNF, AMBIGUOUS))
    await asyncio.sleep(0)
    leaving.cancel()
    assert await staying == TOO_LONG_TO_FOLLOW
    assert leaving.cancelled()


async def test_what_nobody_waits_for_any_longer_is_not_tried(check: CompileCheck, worker: CompileWorker) -> None:
    await check.check(EBNF, GOOD)
    before = cpu_s(worker)
    leaving = [asyncio.create_task(problem(check, EBNF, HEAVY + " " * n)) for n in range(100)]
    await asyncio.sleep(0)
    for task in leaving:
        task.cancel()
    await asyncio.gather(*leaving, return_exceptions=True)
    assert await problem(check, EBNF, GOOD + " ") is None
    assert cpu_s(worker) - before < 5


async def test_who_has_no_turn_in_time_is_told_to_come_back(check: CompileCheck, worker: CompileWorker) -> None:
    await check.check(EBNF, GOOD)
    impatient = CompileCheck(worker, wait_s=0.5)
    hostile = [asyncio.create_task(problem(impatient, EBNF, HEAVY + " " * n)) for n in range(100)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded) as told:
        await impatient.check(EBNF, GOOD + " ")
    assert told.value.retry_after_s
    assert isinstance((await asyncio.gather(*hostile, return_exceptions=True))[-1], Overloaded)
    await until(lambda: not jobs_of(worker))
    # Nothing is held against what had no turn.
    assert await problem(check, EBNF, GOOD + " ") is None


async def test_it_is_started_again_when_it_was_killed(own_check: CompileCheck) -> None:
    worker = own_check._worker
    await own_check.check(EBNF, GOOD)
    killed = worker.process_id
    assert killed
    os.kill(killed, signal.SIGKILL)
    await until(lambda: gone(psutil.Process(killed)))
    assert await problem(own_check, EBNF, UNKNOWN_RULE)
    assert worker.process_id not in (None, killed)


async def test_closing_ends_it_also_while_it_works_or_starts(worker: CompileWorker) -> None:
    for delay_s in (0.0, 0.2):
        own = CompileWorker()
        check = CompileCheck(own)
        check.start()
        await asyncio.sleep(delay_s)
        await check.close()
        await check.close()
        assert own.process_id is None
    assert not [child for child in psutil.Process().children() if gone(child)], "a zombie"


async def test_it_gives_way_to_engines_and_does_not_hear_ctrl_c(check: CompileCheck, worker: CompileWorker) -> None:
    await check.check(EBNF, GOOD)
    process = psutil.Process(worker.process_id)
    assert process.nice() > psutil.Process().nice()
    assert os.getpgid(process.pid) != os.getpgid(0)
    process.send_signal(signal.SIGINT)
    assert await problem(check, EBNF, GOOD + "  ") is None
    assert worker.process_id == process.pid


SERVER = f"""
import asyncio
from service.decoding.compile_check import CompileCheck
from service.decoding.grammars import GrammarKind

async def main():
    check = CompileCheck()
    await check.check(GrammarKind.EBNF, {GOOD!r})
    print(check._worker.process_id, flush=True)
    await asyncio.gather(*(check.check(GrammarKind.EBNF, {HEAVY!r} + " " * n) for n in range(9)))

asyncio.run(main())
"""


def test_it_ends_with_a_server_that_was_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        worker = psutil.Process(int(server.stdout.readline()))
        family = [worker, *worker.children()]
        server.kill()
    end = time.monotonic() + GONE_WITHIN_S
    while not all(map(gone, family)) and time.monotonic() < end:
        time.sleep(0.02)
    assert all(map(gone, family))
