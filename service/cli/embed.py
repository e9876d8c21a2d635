"""`inferwire embed`: texts to vectors, as JSON lines."""

import asyncio
import json
import sys
from collections.abc import Iterable, Iterator
from itertools import islice

import rich_click as click

from service.api.content import TextContentItem
from service.api.embeddings import EmbeddingsRequest, TextTruncation
from service.api.models import ModelType
from service.cli.connection import Connection, connection_options
from service.cli.failures import failures_shown
from service.cli.options import chosen_model, model_option

# A server takes a limited number of texts in one call, and a reader of the output wants the first lines soon.
TEXTS_PER_CALL = 256


@click.command()
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@connection_options
@model_option("embedding model")
@click.option(
    "--truncate",
    type=click.Choice(list(TextTruncation), case_sensitive=False),
    default=TextTruncation.NONE,
    show_default="none",
    help="Which end of a text that is too long is cut; none makes it an error.",
)
def embed(texts: tuple[str, ...], connection: Connection, model: str | None, truncate: TextTruncation) -> None:
    """Turn each TEXT, or each line of standard input, into a vector.

    Prints one JSON object a line: index, dimension and values.
    """
    if not texts and sys.stdin.isatty():
        raise click.UsageError("Nothing to embed: give texts, or pipe in lines.")
    lines = texts or (line.rstrip("\n") for line in sys.stdin)
    with failures_shown(connection.target):
        asyncio.run(_print_embeddings(lines, connection, model, truncate))


async def _print_embeddings(
    texts: Iterable[str], connection: Connection, model: str | None, truncate: TextTruncation
) -> None:
    async with await connection.open() as client:
        model_id = await chosen_model(client, model, ModelType.EMBEDDING)
        index = 0
        for batch in _batches(texts):
            contents = tuple(TextContentItem(text=text) for text in batch)
            request = EmbeddingsRequest(model_id=model_id, contents=contents, text_truncation=truncate)
            for embedding in (await client.embed(request)).embeddings:
                values = list(embedding.values)
                click.echo(json.dumps({"index": index, "dimension": len(values), "values": values}))
                index += 1


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    remaining = iter(texts)
    while batch := list(islice(remaining, TEXTS_PER_CALL)):
        yield batch
