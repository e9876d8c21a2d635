"""Grammars are tried in another process, which nothing that is sent to it can hold up for long."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator

import psutil
import pytest
import pytest_asyncio

from service.decoding.compile_check import CallersCheck, CompileCheck
from service.decoding.compile_process import TOO_LONG_TO_COMPILE, CompileProcess
from service.decoding.compile_worker import TRIALS
from service.decoding.expressions import UnusableGrammar
from service.decoding.grammars import GrammarKind
from service.decoding.trial import TOO_LONG_TO_FOLLOW
from service.errors import Overloaded

EBNF, JSON_SCHEMA, REGEX = GrammarKind.EBNF, GrammarKind.JSON_SCHEMA, GrammarKind.REGEX
TAG = GrammarKind.STRUCTURAL_TAG
GONE_WITHIN_S = 20
pytestmark = pytest.mark.asyncio(loop_scope="module")
PATIENCE_S = 60  # no test is decided by how busy the machine is
GOOD = 'root ::= "a" [0-9]+'
AMBIGUOUS = "root ::= root root | [a-z]"
HEAVY = "root ::= " + "[a-z]? " * 2000
UNKNOWN_RULE = "root ::= missing"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def process() -> AsyncIterator[CompileProcess]:
    """Its process takes seconds to start."""
    process = CompileProcess()
    yield process
    await process.end()


@pytest_asyncio.fixture(loop_scope="module")
async def check(process: CompileProcess) -> CallersCheck:
    """One that remembers nothing yet."""
    return CompileCheck(process, wait_s=PATIENCE_S).for_caller("search")


@pytest_asyncio.fixture(loop_scope="module")
async def own_check() -> AsyncIterator[CompileCheck]:
    """One with a process of its own."""
    check = CompileCheck(wait_s=PATIENCE_S)
    yield check
    await check.close()


async def problem(check: CallersCheck, kind: GrammarKind, text: str) -> str | None:
    try:
        await check.check(kind, text)
    except UnusableGrammar as error:
        return str(error)
    return None


def triers(process: CompileProcess) -> list[psutil.Process]:
    return psutil.Process(process.process_id).children()


def cpu_s(process: CompileProcess) -> float:
    """What those of its triers have taken that have ended."""
    times = psutil.Process(process.process_id).cpu_times()
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
async def test_what_a_decoder_can_use_is_let_through(check: CallersCheck, kind: GrammarKind, text: str) -> None:
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
        (EBNF, "root ::= root", "No text belongs to it."),
        (EBNF, 'root ::= "yes" more\nmore ::= more', "It has a dead end: after 'yes' nothing can follow"),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_what_a_decoder_cannot_use_is_refused_with_a_reason(
    check: CallersCheck, kind: GrammarKind, text: str, reason: str
) -> None:
    assert reason in (await problem(check, kind, text) or "")


async def test_after_one_that_never_ends_the_next_is_tried(check: CallersCheck, process: CompileProcess) -> None:
    await check.check(EBNF, GOOD)
    process_id = process.process_id
    assert await problem(check, EBNF, HEAVY) == TOO_LONG_TO_COMPILE
    assert await problem(check, EBNF, GOOD + " ") is None
    assert process.process_id == process_id
    assert len(triers(process)) == 1


async def test_a_verdict_is_remembered() -> None:
    process = CompileProcess()
    check = CompileCheck(process, wait_s=PATIENCE_S).for_caller("search")
    verdicts = [await problem(check, EBNF, text) for text in (GOOD, UNKNOWN_RULE)]
    await process.end()
    assert [await problem(check, EBNF, text) for text in (GOOD, UNKNOWN_RULE)] == verdicts
    assert process.process_id is None


async def test_the_same_text_of_another_kind_has_a_verdict_of_its_own(check: CallersCheck) -> None:
    assert await problem(check, REGEX, UNKNOWN_RULE) is None
    assert await problem(check, EBNF, UNKNOWN_RULE)


async def test_many_who_ask_for_the_same_share_one_trial(check: CallersCheck, process: CompileProcess) -> None:
    await check.check(EBNF, GOOD)
    before = cpu_s(process)
    assert set(await asyncio.gather(*(problem(check, EBNF, HEAVY) for _ in range(50)))) == {TOO_LONG_TO_COMPILE}
    assert cpu_s(process) - before < 2


async def test_a_caller_who_leaves_takes_nobody_s_verdict(check: CallersCheck) -> None:
    await check.check(EBNF, GOOD)
    leaving = asyncio.create_task(problem(check, EBNF, AMBIGUOUS))
    staying = asyncio.create_task(problem(check, EBNF, AMBIGUOUS))
    await asyncio.sleep(0)
    leaving.cancel()
    assert await staying == TOO_LONG_TO_FOLLOW
    assert leaving.cancelled()


async def test_what_nobody_waits_for_any_longer_is_not_tried(check: CallersCheck, process: CompileProcess) -> None:
    await check.check(EBNF, GOOD)
    before = cpu_s(process)
    leaving = [asyncio.create_task(problem(check, EBNF, HEAVY + " " * n)) for n in range(100)]
    await asyncio.sleep(0)
    for task in leaving:
        task.cancel()
    await asyncio.gather(*leaving, return_exceptions=True)
    assert await problem(check, EBNF, GOOD + " ") is None
    assert cpu_s(process) - before < 5


async def test_who_has_no_turn_in_time_is_told_to_come_back(check: CallersCheck, process: CompileProcess) -> None:
    await check.check(EBNF, GOOD)
    impatient = CompileCheck(process, wait_s=0.5).for_caller("search")
    hostile = [asyncio.create_task(problem(impatient, EBNF, HEAVY + " " * n)) for n in range(100)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded) as told:
        await impatient.check(EBNF, GOOD + " ")
    assert told.value.retry_after_s
    assert isinstance((await asyncio.gather(*hostile, return_exceptions=True))[-1], Overloaded)
    # Nothing is held against what had no turn.
    assert await problem(check, EBNF, GOOD + " ") is None


async def test_a_flood_keeps_no_other_caller_waiting(process: CompileProcess) -> None:
    check = CompileCheck(process, wait_s=2.0)
    flooding, other = check.for_caller("flooding"), check.for_caller("other")
    await other.check(EBNF, GOOD)
    flood = [asyncio.create_task(problem(flooding, EBNF, HEAVY + " " * n)) for n in range(100)]
    await asyncio.sleep(0)
    for n in range(1, 4):
        assert await problem(other, EBNF, GOOD + " " * n) is None
    assert Overloaded in {type(outcome) for outcome in await asyncio.gather(*flood, return_exceptions=True)}


async def test_it_is_started_again_when_it_was_killed(own_check: CompileCheck) -> None:
    process = own_check._process
    await own_check.for_caller("search").check(EBNF, GOOD)
    killed = process.process_id
    assert killed
    os.kill(killed, signal.SIGKILL)
    await until(lambda: gone(psutil.Process(killed)))
    assert await problem(own_check.for_caller("search"), EBNF, HEAVY) == TOO_LONG_TO_COMPILE
    assert process.process_id not in (None, killed)


async def test_closing_ends_it_also_while_it_works_or_starts(process: CompileProcess) -> None:
    for delay_s in (0.0, 0.2):
        own = CompileProcess()
        check = CompileCheck(own)
        check.start()
        await asyncio.sleep(delay_s)
        await check.close()
        await check.close()
        assert own.process_id is None
    assert not [child for child in psutil.Process().children() if gone(child)], "a zombie"


async def test_it_gives_way_to_engines_and_does_not_hear_ctrl_c(check: CallersCheck, process: CompileProcess) -> None:
    await check.check(EBNF, GOOD)
    running = psutil.Process(process.process_id)
    for each in (running, *triers(process)):
        assert each.nice() > psutil.Process().nice()
        assert os.getpgid(each.pid) != os.getpgid(0)
        each.send_signal(signal.SIGINT)
    assert await problem(check, EBNF, GOOD + "  ") is None
    assert process.process_id == running.pid


async def test_after_many_the_next_are_tried_by_a_new_process(check: CallersCheck, process: CompileProcess) -> None:
    await check.check(EBNF, GOOD)
    [before] = triers(process)
    assert set(await check.problems(EBNF, [GOOD + " " * n for n in range(TRIALS + 1)])) == {None}
    assert before not in triers(process)


async def test_of_several_each_has_its_own_verdict(check: CallersCheck) -> None:
    verdicts = await check.problems(EBNF, [GOOD, HEAVY, UNKNOWN_RULE, GOOD])
    assert verdicts[:2] == [None, TOO_LONG_TO_COMPILE]
    assert 'Rule "missing" is not defined' in str(verdicts[2])
    assert verdicts[3] is None


SERVER = f"""
import asyncio
from service.decoding.compile_check import CompileCheck
from service.decoding.grammars import GrammarKind

async def main():
    check = CompileCheck()
    own = check.for_caller("search")
    await own.check(GrammarKind.EBNF, {GOOD!r})
    print(check._process.process_id, flush=True)
    await asyncio.gather(*(own.check(GrammarKind.EBNF, {HEAVY!r} + " " * n) for n in range(9)))

asyncio.run(main())
"""


async def test_it_ends_with_a_server_that_was_killed() -> None:
    with subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout
        process = psutil.Process(int(server.stdout.readline()))
        family = [process, *process.children()]
        server.kill()
    await until(lambda: all(map(gone, family)))
