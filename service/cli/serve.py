"""`inferwire serve`: a server with the settings of flags, environment and file, in this order of precedence."""

import sys

import rich_click as click

from service.cli.engine_output import engine_output_to
from service.cli.server_options import HELP_LAYOUT, NO_MODELS, AskedSettings, server_options
from service.cli.serving import print_line, serve_until_stopped


@click.command()
@click.rich_config(HELP_LAYOUT)
@server_options
@click.option("--verbose", is_flag=True, help="Show the engines' output also when there is a file for it.")
def serve(asked: AskedSettings, verbose: bool) -> None:
    """Serve models.

    Flags beat environment variables, which beat the settings file.
    """
    settings = asked.load()
    if not settings.models:
        raise click.UsageError(NO_MODELS)
    with engine_output_to(None if verbose else settings.log.engine_log) as output:
        code = serve_until_stopped(settings, output, lambda address: print_line(output, f"serving on {address}"))
    sys.exit(code)
