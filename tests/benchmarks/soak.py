"""Drives mixed traffic for a while: does the server keep its promises, and what does it keep of the calls?

python -m tests.benchmarks.soak --minutes 20

Prints two Markdown tables: the calls by kind and outcome; and memory, open files and threads at rest, after the
warm-up, in the middle and at the end. Exits with 1 for an outcome that doesn't explain itself, for memory that grew by
2 % or more after the warm-up, for files or threads that are more than then, and for calls that the server still counts.
Ctrl-C ends it early; the tables then tell of what there is.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import psutil

from service.client import Client
from tests.benchmarks.soak_calls import KINDS, REPLIES, Kind, Sender, outcome_of
from tests.benchmarks.soak_samples import ROWS, Load, Sample, load_of, sample
from tests.serving import ServerProcess, bundled_models, server_process, settings_file, slow_models, slow_server_process

SEED = 7
WARM_UP_S, SAMPLE_EVERY_S = 120.0, 10.0
# A rest is long enough for connections to be closed and for idle threads of gRPC's to end.
REST_S, LONGEST_REST_S, LOOK_EVERY_S = 20.0, 120.0, 1.0
MOST_GROWTH = 0.02
SHOWN = 20
SCRIPTED_STEP_S, SCRIPTED_EMBED_S = 0.01, 0.002
RESTS = ("After the warm-up", "In the middle", "At the end")


@dataclass(frozen=True)
class Server:
    target: str
    pid: int


@dataclass(frozen=True)
class Plan:
    """How long, by how many callers. The warm-up is short where all is short, for tests of this file."""

    duration_s: float
    at_once: int
    seed: int = SEED
    rest_s: float = REST_S
    longest_rest_s: float = LONGEST_REST_S

    @property
    def phases_s(self) -> Sequence[float]:
        """Of traffic before each rest."""
        warm_up_s = min(WARM_UP_S, self.duration_s / 4)
        return warm_up_s, (self.duration_s - warm_up_s) / 2, (self.duration_s - warm_up_s) / 2


@dataclass
class Findings:
    """What came of it, as it comes."""

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By the kind of call."""
    unexplained: list[str] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    rests: list[Sample] = field(default_factory=list)
    load: Load | None = None
    """At the end."""
    seconds: float = 0.0

    def note(self, kind: Kind, outcome: str, sentence: str) -> None:
        self.outcomes[kind.name, outcome] += 1
        if outcome not in kind.explained:
            self.unexplained.append(f"{kind.name}: {outcome}: {sentence}")


def main() -> None:
    options = _options()
    plan, findings = Plan(60 * options.minutes, options.at_once, options.seed), Findings()
    with _server(options) as server, suppress(KeyboardInterrupt):
        asyncio.run(soak(server, plan, findings))
    print(report(findings))
    found = problems(findings)
    for problem in found:
        print(problem, file=sys.stderr)
    sys.exit(bool(found))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20, help="of traffic (default: 20)")
    parser.add_argument("--at-once", type=int, default=16, help="callers (default: 16)")
    parser.add_argument("--seed", type=int, default=SEED, help=f"decides what is sent (default: {SEED})")
    parser.add_argument("--target", help="a running server of the bundled models, as host:port; else one is started")
    parser.add_argument("--pid", type=int, help="the process of that server")
    parser.add_argument("--scripted", action="store_true", help="scripted engines instead of the bundled models")
    options = parser.parse_args()
    if (options.target is None) != (options.pid is None):
        parser.error("--target and --pid are of use only together")
    return options


@contextmanager
def _server(options: argparse.Namespace) -> Iterator[Server]:
    if options.target:
        yield Server(options.target, options.pid)
        return
    with tempfile.TemporaryDirectory() as name, _started(Path(name), scripted=options.scripted) as server:
        yield server


@contextmanager
def _started(folder: Path, *, scripted: bool) -> Iterator[Server]:
    with scripted_process(folder) if scripted else real_process(folder) as server:
        server.wait_until_serving()
        yield Server(server.target, server.pid)


def real_process(folder: Path) -> AbstractContextManager[ServerProcess]:
    return server_process(folder, "--config", settings_file(folder, bundled_models()))


def scripted_process(folder: Path) -> AbstractContextManager[ServerProcess]:
    return slow_server_process(folder, slow_models(SCRIPTED_STEP_S, embed_s=SCRIPTED_EMBED_S, replies=REPLIES))


async def soak(server: Server, plan: Plan, findings: Findings) -> None:
    """Traffic and rests in turn. Adds to `findings` as it goes."""
    begun_s = time.monotonic()
    async with grpc.aio.insecure_channel(server.target) as channel, Client(server.target) as client:
        senders = [
            Sender(server.target, client, channel, random.Random(plan.seed * 1000 + number))
            for number in range(plan.at_once)
        ]
        watch = asyncio.create_task(_watch(server, findings, begun_s))
        try:
            for phase_s in plan.phases_s:
                await traffic(senders, KINDS, phase_s, findings)
                await _rest(server, channel, plan, findings, begun_s)
        except (grpc.aio.AioRpcError, psutil.Error) as gone:
            findings.unexplained.append(f"the server is gone: {gone}")
        finally:
            watch.cancel()
            print(file=sys.stderr)


async def traffic(senders: Sequence[Sender], kinds: Sequence[Kind], seconds: float, findings: Findings) -> None:
    """Returns when all calls have ended."""
    end_s = time.monotonic() + seconds

    async def work(sender: Sender) -> None:
        while time.monotonic() < end_s:
            [kind] = sender.chance.choices(kinds, [kind.weight for kind in kinds])
            findings.note(kind, *await outcome_of(kind, sender))

    async with asyncio.TaskGroup() as group:
        for sender in senders:
            group.create_task(work(sender))


async def _rest(server: Server, channel: grpc.aio.Channel, plan: Plan, findings: Findings, begun_s: float) -> None:
    """Waits until nothing is left of the calls; longer, if there are more files or threads than in the first rest."""
    deadline_s = time.monotonic() + plan.longest_rest_s
    await asyncio.sleep(plan.rest_s)
    first = findings.rests[0] if findings.rests else None
    while True:
        findings.load = await load_of(channel)
        now = sample(server.pid, time.monotonic() - begun_s)
        if (findings.load.none and not _left_over(first, now)) or time.monotonic() > deadline_s:
            break
        await asyncio.sleep(LOOK_EVERY_S)
    findings.rests.append(now)


def _left_over(first: Sample | None, now: Sample) -> bool:
    return first is not None and (now.files > first.files or now.threads > first.threads)


async def _watch(server: Server, findings: Findings, begun_s: float) -> None:
    """Samples now and then, and shows how far it is every second."""
    while True:
        findings.seconds = time.monotonic() - begun_s
        if findings.seconds >= SAMPLE_EVERY_S * len(findings.samples):
            findings.samples.append(sample(server.pid, findings.seconds))
        shown = f"{findings.outcomes.total()} calls, {len(findings.unexplained)} unexplained"
        memory = f"{findings.samples[-1].memory_mib:.0f} MiB"
        print(f"\r{shown}, {memory}, {findings.seconds:.0f} s ", end="", file=sys.stderr, flush=True)
        await asyncio.sleep(LOOK_EVERY_S)


def problems(findings: Findings) -> list[str]:
    """What a server must not do; what could not be seen, as it was ended early, is none."""
    found = findings.unexplained[:SHOWN]
    if len(findings.unexplained) > SHOWN:
        found.append(f"… and {len(findings.unexplained) - SHOWN} more unexplained outcomes")
    if findings.load and not findings.load.none:
        found.append(f"at rest the server still counts {findings.load}")
    if len(findings.rests) == len(RESTS):
        found += _grown(findings.rests[0], findings.rests[-1])
    return found


def _grown(first: Sample, last: Sample) -> Iterator[str]:
    growth = last.memory_mib / first.memory_mib - 1
    if growth >= MOST_GROWTH:
        yield f"the server's memory grew by {growth:.1%}"
    if last.files > first.files:
        yield f"{last.files} files are open, {first.files} were"
    if last.threads > first.threads:
        yield f"there are {last.threads} threads, there were {first.threads}"


def report(findings: Findings) -> str:
    """Both tables."""
    return f"{_calls_table(findings)}\n\n{_rests_table(findings)}\n"


def _calls_table(findings: Findings) -> str:
    sent = {name for name, _ in findings.outcomes}
    rows = [_calls_row(kind, findings.outcomes) for kind in KINDS if kind.name in sent]
    total = [
        f"**All, in {findings.seconds / 60:.1f} minutes**",
        *(str(sum(int(row[column]) for row in rows)) for column in (1, 2, 3)),
        "",
    ]
    columns = ["Calls", "Sent", "As expected", "Unexplained", "Outcomes"]
    return _table(columns, ["---", "---:", "---:", "---:", "---"], [*rows, total])


def _calls_row(kind: Kind, outcomes: Counter[tuple[str, str]]) -> list[str]:
    own = Counter({outcome: count for (name, outcome), count in outcomes.items() if name == kind.name})
    expected = sum(count for outcome, count in own.items() if outcome in kind.explained)
    shown = ", ".join(f"{count} {outcome}" for outcome, count in own.most_common())
    return [kind.name, str(own.total()), str(expected), str(own.total() - expected), shown]


def _rests_table(findings: Findings) -> str:
    rests = findings.rests
    rows = [_rests_row(label, [getattr(s, name) for s in rests], findings, name) for label, name in ROWS]
    columns = ["At rest", *RESTS[: len(rests)], "Growth", "Most in between"]
    return _table(columns, ["---", *["---:"] * (len(columns) - 1)], rows)


def _rests_row(label: str, values: Sequence[float], findings: Findings, name: str) -> list[str]:
    growth = f"{values[-1] / values[0] - 1:+.1%}" if len(values) > 1 and values[0] else ""
    most = max((getattr(s, name) for s in findings.samples), default=0)
    return [label, *map(_number, values), growth, _number(most)]


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.1f}"


def _table(columns: Sequence[str], ruled: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (columns, ruled, *rows))


if __name__ == "__main__":
    main()
