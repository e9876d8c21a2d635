"""Runs workloads on contenders, in turn and repeatedly: what the machine does meanwhile hits all of them alike."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from service.bench.contenders.base import Contender, Round, Running
from service.bench.report import Rounds
from service.bench.workloads import Workload

WARM_UP_STREAMS, WARM_UP_TOKENS = 8, 32
Tell = Callable[[str], None]
"""Hears what is about to be done: a start, or one run of a workload."""


def steps(contenders: int, workloads: int, rounds: int) -> int:
    """How often `compare` tells."""
    return rounds * contenders * (1 + workloads)


async def compare(
    contenders: Sequence[Contender], workloads: Sequence[Workload], model: Path, folder: Path, rounds: int, tell: Tell
) -> Rounds:
    """Starts each contender in each round; every other round begins with the last. Logs go to `folder`."""
    done: defaultdict[tuple[str, str], list[Round]] = defaultdict(list)
    for number in range(rounds):
        for index, contender in enumerate(contenders if number % 2 == 0 else contenders[::-1]):
            tell(f"start {contender.name}")
            async with contender.running(model, folder / f"{number}-{index}.log") as running:
                await running.run(_warm_up(workloads), seed=-1 - number)
                for workload in workloads:
                    tell(f"{contender.name}: {workload.name}")
                    done[workload.name, contender.name].append(await running.run(workload, seed=number))
    return _sorted(done, contenders, workloads)


async def repeat(running: Running, name: str, workloads: Sequence[Workload], rounds: int, tell: Tell) -> Rounds:
    """Asks one contender that runs already."""
    done: defaultdict[tuple[str, str], list[Round]] = defaultdict(list)
    for number in range(rounds):
        for workload in workloads:
            tell(workload.name)
            done[workload.name, name].append(await running.run(workload, seed=number))
    return done


def _warm_up(workloads: Sequence[Workload]) -> Workload:
    """With a schema where one is asked for later: its first use is not what is measured."""
    schema = next((workload.json_schema for workload in workloads if workload.json_schema), None)
    return Workload("warm-up", WARM_UP_STREAMS, tokens=WARM_UP_TOKENS, json_schema=schema)


def _sorted(done: Rounds, contenders: Sequence[Contender], workloads: Sequence[Workload]) -> Rounds:
    keys = ((workload.name, contender.name) for workload in workloads for contender in contenders)
    return {key: done[key] for key in keys if key in done}
