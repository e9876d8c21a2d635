"""`inferwire models`: what a server serves."""

import asyncio
import json
import sys

import rich_click as click
from rich.console import Console
from rich.table import Table

from service.api.models import Model
from service.cli.connection import Connection, connection_options
from service.cli.failures import failures_shown
from service.cli.waiting import waiting


@click.command()
@connection_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON also on a terminal.")
def models(connection: Connection, as_json: bool) -> None:
    """List the models of a server: a table on a terminal, JSON elsewhere."""
    with failures_shown(connection.target):
        served = asyncio.run(_list_models(connection))
    if as_json or not sys.stdout.isatty():
        click.echo(json.dumps([model.model_dump(mode="json") for model in served], indent=2))
    else:
        Console().print(model_table(served))


async def _list_models(connection: Connection) -> tuple[Model, ...]:
    async with await connection.open() as client, waiting("Waiting for the server"):
        return await client.models()


def model_table(served: tuple[Model, ...]) -> Table:
    table = Table("Model", "Type", "Engine", "Context", "Dimension")
    for model in served:
        dimension = model.metadata.get("embedding_dimension")
        table.add_row(
            model.identifier,
            model.model_type.value,
            model.provider_id,
            str(model.limits.context_length),
            "" if dimension is None else f"{dimension:g}",
        )
    return table
