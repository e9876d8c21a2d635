"""`inferwire models`: what a server serves, and adapters that come and go."""

import asyncio
import json
import sys
from typing import Any

import rich_click as click
from click.core import ParameterSource
from rich.console import Console
from rich.table import Table

from service.api.models import Model, Registration
from service.cli.connection import Connection, connection_options
from service.cli.failures import failures_shown
from service.cli.waiting import waiting


@click.group(invoke_without_command=True)
@connection_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON also on a terminal.")
@click.pass_context
def models(context: click.Context, connection: Connection, as_json: bool) -> None:
    """List the models of a server: a table on a terminal, JSON elsewhere. Or change which it serves."""
    if context.invoked_subcommand:
        _refuse_options_before(context)
        return
    with failures_shown(connection.target):
        served = asyncio.run(_list_models(connection))
    if as_json or not sys.stdout.isatty():
        click.echo(json.dumps([model.model_dump(mode="json") for model in served], indent=2))
    else:
        Console().print(model_table(served))


@models.command()
@connection_options
@click.argument("name")
@click.option("--base", required=True, metavar="MODEL", help="The model to load it into.")
@click.option("--path", metavar="PATH", help="Its path below the server's folder of adapters. [default: the name]")
@click.option("--metadata", metavar="JSON", help="Facts to keep with it, as a JSON object.")
def register(connection: Connection, name: str, base: str, path: str | None, metadata: str | None) -> None:
    """Load a LoRA adapter into a model, and serve it as NAME."""
    registration = Registration(
        model_id=name, provider_model_id=name if path is None else path, base_model_id=base, metadata=_facts(metadata)
    )
    with failures_shown(connection.target):
        model = asyncio.run(_register(connection, registration))
    click.echo(f"{model.identifier} is served, with {model.base_model_id} as its base.")


@models.command()
@connection_options
@click.argument("name")
def unregister(connection: Connection, name: str) -> None:
    """Serve a registered model no longer, once its calls have ended."""
    with failures_shown(connection.target):
        asyncio.run(_unregister(connection, name))
    click.echo(f"{name} is gone.")


def _refuse_options_before(context: click.Context) -> None:
    given = [name for name in context.params if context.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    if given:
        raise click.UsageError(f"Options stand behind `{context.invoked_subcommand}`.")


def _facts(text: str | None) -> dict[str, Any]:
    try:
        facts = json.loads(text) if text else {}
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--metadata") from None
    if not isinstance(facts, dict):
        raise click.BadParameter("A JSON object is required.", param_hint="--metadata")
    return facts


async def _register(connection: Connection, registration: Registration) -> Model:
    async with await connection.open() as client, waiting("Waiting until it is loaded"):
        return await client.register(registration)


async def _unregister(connection: Connection, name: str) -> None:
    async with await connection.open() as client, waiting("Waiting for its calls to end"):
        await client.unregister(name)


async def _list_models(connection: Connection) -> tuple[Model, ...]:
    async with await connection.open() as client, waiting("Waiting for the server"):
        return await client.models()


def model_table(served: tuple[Model, ...]) -> Table:
    table = Table("Model", "Type", "Base", "State", "Engine", "Context", "Dimension")
    for model in served:
        dimension = model.metadata.get("embedding_dimension")
        table.add_row(
            model.identifier,
            model.model_type.value,
            model.base_model_id or "",
            model.state.value,
            model.provider_id,
            str(model.limits.context_length),
            "" if dimension is None else f"{dimension:g}",
        )
    return table
