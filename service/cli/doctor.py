"""`inferwire doctor`: would a server with these settings start, and what should be changed?"""

import json
import sys
from collections.abc import Iterable, Iterator

import rich_click as click
from rich.console import Console

from service.cli.diagnosis.finding import Finding, Level, ok, problem, warning
from service.cli.diagnosis.report import CHECKS, Report, as_json, as_lines, as_tables, count
from service.cli.server_options import HELP_LAYOUT, NO_MODELS, AskedSettings, server_options
from service.settings import Settings

WITHOUT_SETTINGS = ("versions", "hardware")


@click.command()
@click.rich_config(HELP_LAYOUT)
@server_options
@click.option("--json", "json_wanted", is_flag=True, help="Print JSON.")
def doctor(asked: AskedSettings, json_wanted: bool) -> None:
    """Check whether a server would start.

    Takes what `inferwire serve` takes, and looks at versions, hardware, models, certificates, callers and addresses
    without starting an engine. Says what to change. The exit code is 1 if something would stop a start.
    """
    with Console(stderr=True).status("Looking at this machine"):
        report = _report(asked)
    if json_wanted:
        click.echo(json.dumps(as_json(report), indent=2))
    elif sys.stdout.isatty():
        Console().print(as_tables(report))
    else:
        click.echo("\n".join(as_lines(report)))
    sys.exit(1 if count(report, Level.PROBLEM) else 0)


def _report(asked: AskedSettings) -> Report:
    """Of settings that can't be loaded, only what doesn't depend on them."""
    try:
        settings, areas = asked.load(), tuple(CHECKS)
        about_settings: Iterable[Finding] = _settings(asked, settings)
    except click.UsageError as error:
        settings, areas = Settings.model_construct(), WITHOUT_SETTINGS
        about_settings = [problem("read", error.message, "Correct the file, the flag or the variable.")]
    return {"settings": list(about_settings), **{area: list(CHECKS[area](settings)) for area in areas}}


def _settings(asked: AskedSettings, settings: Settings) -> Iterator[Finding]:
    if settings.models:
        ids = ", ".join(model.id for model in settings.models)
        yield ok("read", f"from {asked.config or 'flags and the environment'}, for {ids}")
    elif asked.config:
        yield problem("models", f"{asked.config} names no models", NO_MODELS)
    else:
        yield warning("models", "none is named, so that none is looked at", NO_MODELS)
