"""`inferwire embed`: texts to vectors, as JSON lines; or a file of texts to a file of vectors."""

import asyncio
import json
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import rich_click as click

from service.api.content import TextContentItem
from service.api.embeddings import EmbeddingsRequest, TextTruncation
from service.api.models import ModelType
from service.cli.connection import Connection, connection_options
from service.cli.embed_file.journal import JournalInUse, JournalOfAnother
from service.cli.embed_file.output import WRITERS, MissingLibrary
from service.cli.embed_file.run import embed_file, journal_of
from service.cli.failures import failures_shown
from service.cli.options import chosen_model, model_option, truncate_option
from service.cli.waiting import waiting

# A server takes a limited number of texts in one call, and a reader of the output wants the first lines soon.
TEXTS_PER_CALL = 256
SOME_WRONG = 3
"""The exit code of a finished file that holds errors."""


@click.command()
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@connection_options
@model_option("embedding model")
@truncate_option
@click.option(
    "--input",
    "source",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help='Embed this file, each line of it a JSON object: {"id": ..., "text": ...}.',
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Where its vectors go: a new file ending in .parquet or .jsonl.",
)
def embed(
    texts: tuple[str, ...],
    connection: Connection,
    model: str | None,
    truncate: TextTruncation,
    source: Path | None,
    output: Path | None,
) -> None:
    """Turn each TEXT, or each line of standard input, into a vector.

    Prints one JSON object a line: index, dimension and values.

    With --input and --output a whole file is embedded. The output has a row for each line that isn't empty, in their
    order: id, vector, truncated, tokens, error. A wrong line, or a text that the model doesn't take, has an error that
    names the line, and no vector; then the exit code is 3.

    Until all is done, rows are kept in a journal beside the output (OUTPUT.journal). When the command is interrupted,
    or the server goes away (exit code 1), run it again: it goes on where it stopped. Delete the journal to begin anew.
    """
    if source or output:
        if texts or not (source and output):
            raise click.UsageError("--input and --output go together, and without TEXT.")
        sys.exit(_embed_file(source, output, connection, model, truncate))
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
            async with waiting(f"Embedding, {index} done"):
                embeddings = (await client.embed(request)).embeddings
            for embedding in embeddings:
                values = list(embedding.values)
                click.echo(json.dumps({"index": index, "dimension": len(values), "values": values}))
                index += 1


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    remaining = iter(texts)
    while batch := list(islice(remaining, TEXTS_PER_CALL)):
        yield batch


def _embed_file(source: Path, output: Path, connection: Connection, model: str | None, truncate: TextTruncation) -> int:
    journal = journal_of(output)
    if output.suffix not in WRITERS:
        raise click.UsageError(f"The output ends in {' or '.join(WRITERS)}.")
    if output.exists() and not journal.exists():
        raise click.UsageError(f"{output} is there already.")
    try:
        with failures_shown(connection.target):
            outcome = asyncio.run(embed_file(source, output, connection, model, truncate))
    except JournalInUse:
        raise click.ClickException(f"Another run is writing {journal}.") from None
    except JournalOfAnother:
        raise click.ClickException(
            f"{journal} was begun with another input, model or truncation. Delete it to begin anew."
        ) from None
    except MissingLibrary:
        raise click.ClickException("Parquet needs pyarrow: pip install 'inferwire[parquet]'") from None
    click.echo(f"{outcome.rows} rows, {outcome.errors} of them errors, in {output}", err=True)
    return SOME_WRONG if outcome.errors else 0
