"""`inferwire bench`: Inferwire beside the raw engine and other servers, on this machine, in one run."""

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path

import rich_click as click
from rich.console import Console
from rich.progress import Progress, TaskID

from service.bench import workloads
from service.bench.contenders.base import Contender
from service.bench.contenders.inferwire import Inferwire, running_at
from service.bench.contenders.openai_server import OpenAIServer
from service.bench.contenders.raw_engine import RawEngine
from service.bench.contenders.smg_server import SmgServer
from service.bench.report import Rounds, draw, markdown
from service.bench.run import Tell, compare, repeat, steps
from service.bench.tiny_model import make_tiny_model
from service.demo_models import default_cache_dir, prepare_language_model

REFERENCE = RawEngine.name
CONTENDERS: dict[str, Contender] = {
    "raw": RawEngine(),
    "inferwire": Inferwire(),
    "openai": OpenAIServer(tuned=True),
    "openai-defaults": OpenAIServer(tuned=False),
    "smg": SmgServer(),
}
WORKLOADS = {workload.name: workload for workload in workloads.ALL}


@click.command()
@click.option("--model", type=click.Path(exists=True, path_type=Path), help="A model's folder. Unset: the bundled one.")
@click.option("--tiny", is_flag=True, help="A random model of two layers, to see what front-ends cost.")
@click.option("--contender", "names", multiple=True, type=click.Choice(list(CONTENDERS)), help="Unset: all.")
@click.option("--workload", "chosen", multiple=True, type=click.Choice(list(WORKLOADS)), help="Unset: all.")
@click.option("--quick", is_flag=True, help="Few workloads, two contenders, one round: under five minutes.")
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1), help="How often each runs.")
@click.option("--png", type=click.Path(path_type=Path), help="Where to draw the ratios.")
@click.option("--target", metavar="HOST:PORT", help="A server that runs already, instead of all others.")
@click.option("--model-id", default="model", show_default=True, help="The model to ask at --target.")
def bench(
    model: Path | None,
    tiny: bool,
    names: Sequence[str],
    chosen: Sequence[str],
    quick: bool,
    rounds: int,
    png: Path | None,
    target: str | None,
    model_id: str,
) -> None:
    """Compare Inferwire with the engine called directly.

    Starts each contender in turn with the same model, gives all the same workloads, and prints a Markdown table of
    medians, with ratios to the raw engine. Needs the extra `bench`.
    """
    asked = [WORKLOADS[name] for name in chosen] or list(workloads.QUICK if quick else workloads.ALL)
    contenders = [CONTENDERS[name] for name in names or (("raw", "inferwire") if quick else CONTENDERS)]
    rounds = 1 if quick else rounds
    with tempfile.TemporaryDirectory(prefix="inferwire-bench-") as folder, _progress() as progress:
        if target:
            task = progress.add_task("", total=rounds * len(asked))
            done = asyncio.run(_at(target, model_id, asked, rounds, _teller(progress, task)))
        else:
            task = progress.add_task("", total=steps(len(contenders), len(asked), rounds))
            path = _model(model, tiny=tiny, folder=Path(folder))
            done = asyncio.run(compare(contenders, asked, path, Path(folder), rounds, _teller(progress, task)))
    click.echo(markdown(done, REFERENCE))
    if png:
        draw(done, REFERENCE, png)


def _model(given: Path | None, *, tiny: bool, folder: Path) -> Path:
    bundled = given or prepare_language_model(default_cache_dir())
    return make_tiny_model(bundled, folder / "tiny") if tiny else bundled


async def _at(target: str, model_id: str, asked: Sequence[workloads.Workload], rounds: int, tell: Tell) -> Rounds:
    async with running_at(target, model_id) as running:
        return await repeat(running, target, asked, rounds, tell)


def _progress() -> Progress:
    return Progress(console=Console(stderr=True), transient=True)


def _teller(progress: Progress, task: TaskID) -> Tell:
    """The step that is told of begins: the one before it is done."""

    def tell(step: str) -> None:
        if progress.tasks[task].description:
            progress.advance(task)
        progress.update(task, description=step)

    return tell
