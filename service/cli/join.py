"""`inferwire join`: this machine's part of a model that another machine serves."""

import asyncio
import os
import signal
import sys
from contextlib import suppress

import rich_click as click

from service.cli.engine_output import engine_output_to
from service.cli.server_options import HELP_LAYOUT, AskedSettings, server_options
from service.engines.joining import join_all
from service.engines.roll_call import Refused
from service.settings import ModelSettings, Settings
from service.telemetry.logs import configure_logs

EXIT_FAILED = 1


@click.command()
@click.rich_config(HELP_LAYOUT)
@server_options
@click.option(
    "--machine",
    type=click.IntRange(1),
    required=True,
    metavar="NUMBER",
    envvar="INFERWIRE_MACHINE",
    show_envvar=True,
    help="Which of the other machines this is: 1 for the first of them. Machine 0 runs `inferwire serve`.",
)
@click.option("--verbose", is_flag=True, help="Show the engines' output also when there is a file for it.")
def join(asked: AskedSettings, machine: int, verbose: bool) -> None:
    """Run this machine's part of models that another machine serves.

    Takes the settings of that server, and runs until it is stopped: it waits for the server, and starts its part anew
    with every start of the model.
    """
    settings = asked.load()
    models = _spread(settings, machine)
    with engine_output_to(None if verbose else settings.log.engine_log) as output:
        configure_logs(settings.log.level, settings.log.json_lines, output.stderr)
        # vLLM sets its log up as it is imported; left to itself it writes to standard output, which is ours.
        os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")
        try:
            asyncio.run(_until_stopped(models, machine))
        except* Refused as refusals:
            for refusal in refusals.exceptions:
                output.stdout.write(f"error: the first machine refuses this one: {refusal}\n")
            output.stdout.flush()
            sys.exit(EXIT_FAILED)


def _spread(settings: Settings, machine: int) -> list[ModelSettings]:
    """The models that have a part on this machine."""
    models = [model for model in settings.models if model.layout.nodes > machine]
    if not models:
        most = max((model.layout.nodes for model in settings.models), default=1)
        told = f"machines 0 to {most - 1}" if most > 1 else "one machine, and that one is served with `inferwire serve`"
        raise click.UsageError(f"There is nothing to run on machine {machine}: the settings are for {told}.")
    return models


async def _until_stopped(models: list[ModelSettings], machine: int) -> None:
    work = asyncio.create_task(join_all(models, machine))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, work.cancel)
    with suppress(asyncio.CancelledError):
        await work
