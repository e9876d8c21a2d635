"""`inferwire tokenize`: the tokens that a model reads for a text, as JSON lines."""

import asyncio
import json

import rich_click as click

from service.api.models import ModelType
from service.api.tokenize import TokenizeRequest, TokenizeText
from service.cli.connection import Connection, connection_options
from service.cli.failures import failures_shown
from service.cli.options import chosen_model, model_option, text_or_stdin


@click.command()
@click.argument("text", required=False)
@connection_options
@model_option("model")
@click.option("--count", "only_count", is_flag=True, help="Print only how many there are.")
def tokenize(text: str | None, connection: Connection, model: str | None, only_count: bool) -> None:
    """Print the tokens that a model reads for TEXT, or for what is piped in.

    One JSON object a line: the token's id, and its bytes as text.
    """
    text = text_or_stdin(text)
    if text is None:
        raise click.UsageError("Nothing to tokenise: give a text, or pipe one in.")
    with failures_shown(connection.target):
        asyncio.run(_print_tokens(text, connection, model, only_count))


async def _print_tokens(text: str, connection: Connection, model: str | None, only_count: bool) -> None:
    async with await connection.open() as client:
        model_id = await chosen_model(client, model, *ModelType)
        asked = TokenizeRequest(model_id=model_id, input=TokenizeText(text=text), return_pieces=not only_count)
        tokens = await client.tokenize(asked)
    if only_count:
        click.echo(tokens.count)
        return
    for token_id, piece in zip(tokens.token_ids, tokens.pieces, strict=True):
        # A part of a character is shown by its bytes.
        line = {"id": token_id, "piece": piece.decode(errors="backslashreplace")}
        click.echo(json.dumps(line, ensure_ascii=False))
