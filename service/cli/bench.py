"""`inferwire bench`: Inferwire beside the raw engine and other servers, on this machine, in one run."""

import asyncio
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rich_click as click
from rich.console import Console
from rich.progress import Progress, TaskID

from service.bench.kinds import EMBEDDINGS, KINDS, REFERENCE, STREAMS, Kind
from service.bench.report import Drawing, draw, group_tables, starts_table
from service.bench.run import AtTarget, Comparison, Outcome, Run, Tell
from service.bench.starts import Starts
from service.bench.tiny_model import make_tiny_model
from service.demo_models import default_cache_dir, prepare_embedding_model, prepare_language_model

CONTENDERS = list(dict.fromkeys(name for kind in KINDS for name in kind.contenders))
QUICK_CONTENDERS = ("raw", "inferwire")
WORKLOADS = [workload.name for kind in KINDS for workload in kind.workloads]
PREPARING = "prepare the models"
LEGEND = (
    f"Medians. ± is half of the spread between rounds, (x) a multiple of {REFERENCE}, which has the same settings.\n"
    "TTFT is the time to the first token, a gap the time between two messages of a stream."
)


@dataclass(frozen=True, slots=True)
class Options:
    """As the command line gives them."""

    model: Path | None
    embedding_model: Path | None
    tiny: bool
    names: Sequence[str]
    chosen: Sequence[str]
    quick: bool
    starts: bool
    rounds: int
    png: Path | None
    target: str | None
    model_id: str
    embedding_model_id: str | None

    def workloads(self, kind: Kind) -> Sequence[Any]:
        if not self.chosen and self.quick:
            return kind.quick
        return [workload for workload in kind.workloads if not self.chosen or workload.name in self.chosen]

    def contenders(self, kind: Kind) -> Sequence[Any]:
        names = self.names or (QUICK_CONTENDERS if self.quick else CONTENDERS)
        return [contender for name, contender in kind.contenders.items() if name in names]

    @property
    def rounds_each(self) -> int:
        return 1 if self.quick else self.rounds


@click.command()
@click.option("--model", type=click.Path(exists=True, path_type=Path), help="A model's folder. Unset: the bundled one.")
@click.option(
    "--embedding-model", type=click.Path(exists=True, path_type=Path), help="Likewise, for the workloads of embeddings."
)
@click.option("--tiny", is_flag=True, help="A random language model of two layers, to see what front-ends cost.")
@click.option("--contender", "names", multiple=True, type=click.Choice(CONTENDERS), help="Unset: all.")
@click.option("--workload", "chosen", multiple=True, type=click.Choice(WORKLOADS), help="Unset: all.")
@click.option("--quick", is_flag=True, help="Few workloads, two contenders, one round: under five minutes.")
@click.option("--starts", is_flag=True, help="Also time until both models are served, which takes minutes.")
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1), help="How often each runs.")
@click.option("--png", type=click.Path(path_type=Path), help="Where to draw the ratios.")
@click.option("--target", metavar="HOST:PORT", help="A server that runs already, instead of all others.")
@click.option("--model-id", default="model", show_default=True, help="The model to ask at --target.")
@click.option("--embedding-model-id", help="The model to ask for embeddings there. Unset: none is asked for.")
def bench(**values: Any) -> None:
    """Compare Inferwire with the engine called directly.

    Starts each contender in turn with the same model, gives all the same workloads, and prints Markdown tables of
    medians, with ratios to the raw engine. Needs the extra `bench`.
    """
    options = Options(**values)
    if options.png and options.target:
        raise click.UsageError("--png draws ratios to the raw engine, which doesn't run with --target.")
    with tempfile.TemporaryDirectory(prefix="inferwire-bench-") as folder, _progress() as progress:
        task = progress.add_task(PREPARING, total=None)
        runs = list(_runs_at(options.target, options) if options.target else _runs_here(options, Path(folder)))
        progress.update(task, description="", total=sum(run.steps for run, _ in runs))
        outcomes = asyncio.run(_all(runs, _teller(progress, task)))
    _print(outcomes)
    if options.png:
        _draw(outcomes, options.png)


def _runs_here(options: Options, folder: Path) -> Iterator[tuple[Run, Kind | None]]:
    """With the kind that each is of."""
    cache = default_cache_dir()
    llm = options.model or prepare_language_model(cache)
    embedding = options.embedding_model or prepare_embedding_model(cache)
    if options.tiny:
        llm = make_tiny_model(llm, folder / "tiny")
    for kind, model in ((STREAMS, llm), (EMBEDDINGS, embedding)):
        if workloads := options.workloads(kind):
            warm_ups = list(kind.warm_ups(workloads))
            logs = folder / kind.name.replace(" ", "-")
            logs.mkdir()
            contenders = options.contenders(kind)
            yield Comparison(contenders, workloads, warm_ups, model, logs, options.rounds_each), kind
    if options.starts:
        yield Starts(llm, embedding, folder, options.rounds_each), None


def _runs_at(target: str, options: Options) -> Iterator[tuple[Run, Kind | None]]:
    for kind, model_id in ((STREAMS, options.model_id), (EMBEDDINGS, options.embedding_model_id)):
        if model_id and (workloads := options.workloads(kind)):
            yield AtTarget(kind.running_at(target, model_id), target, workloads, options.rounds_each), kind


async def _all(runs: Sequence[tuple[Run, Kind | None]], tell: Tell) -> list[tuple[Outcome, Kind | None]]:
    return [(await run.run(tell), kind) for run, kind in runs]


def _print(outcomes: Sequence[tuple[Outcome, Kind | None]]) -> None:
    click.echo(LEGEND)
    starts_s: dict[str, Sequence[float]] = {}
    for outcome, kind in outcomes:
        if kind:
            _print_tables(outcome, kind)
        starts_s |= {f"{name}, {kind.name}" if kind else name: seconds for name, seconds in outcome.starts_s.items()}
    if starts_s:
        click.echo(f"\n{starts_table(starts_s)}")
    for outcome, _ in outcomes:
        for name, why in outcome.failures.items():
            click.echo(f"\n{name}: {why}")


def _print_tables(outcome: Outcome, kind: Kind) -> None:
    for group in kind.groups:
        if tables := group_tables(group, kind.tables, outcome.rounds, REFERENCE):
            click.echo(f"\n{tables}")


def _draw(outcomes: Sequence[tuple[Outcome, Kind | None]], file: Path) -> None:
    drawings = [
        Drawing(outcome.rounds, kind.column(title))
        for outcome, kind in outcomes
        if kind and outcome.rounds
        for title in kind.drawn
    ]
    if drawings:
        draw(drawings, REFERENCE, file)


def _progress() -> Progress:
    return Progress(console=Console(stderr=True), transient=True)


def _teller(progress: Progress, task: TaskID) -> Tell:
    """The step that is told of begins: the one before it is done."""

    def tell(step: str) -> None:
        if progress.tasks[task].description:
            progress.advance(task)
        progress.update(task, description=step)

    return tell
