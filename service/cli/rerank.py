"""`inferwire rerank`: texts in the order of how well they fit to a query, as JSON lines."""

import asyncio
import json
import sys

import rich_click as click

from service.api.embeddings import TextTruncation
from service.api.models import ModelType
from service.api.score import RerankDocument, RerankRequest
from service.cli.connection import Connection, connection_options
from service.cli.failures import failures_shown
from service.cli.options import chosen_model, model_option, truncate_option
from service.cli.waiting import waiting


@click.command()
@click.argument("query")
@click.argument("documents", nargs=-1, metavar="[DOCUMENT]...")
@connection_options
@model_option("scoring or embedding model")
@click.option("--top-n", type=click.IntRange(min=1), help="How many to print, the best ones. [default: all]")
@truncate_option
def rerank(
    query: str,
    documents: tuple[str, ...],
    connection: Connection,
    model: str | None,
    top_n: int | None,
    truncate: TextTruncation,
) -> None:
    """Order each DOCUMENT, or each line of standard input, by how well it fits to QUERY.

    Prints one JSON object a line, the best document first: its index, its score and itself.
    """
    if not documents and sys.stdin.isatty():
        raise click.UsageError("Nothing to order: give documents, or pipe in lines.")
    texts = documents or tuple(line.rstrip("\n") for line in sys.stdin)
    if not texts:
        raise click.UsageError("Nothing to order: there are no lines.")
    with failures_shown(connection.target):
        asyncio.run(_print_ranking(query, texts, connection, model, top_n, truncate))


async def _print_ranking(
    query: str,
    texts: tuple[str, ...],
    connection: Connection,
    model: str | None,
    top_n: int | None,
    truncate: TextTruncation,
) -> None:
    async with await connection.open() as client:
        request = RerankRequest(
            model_id=await chosen_model(client, model, ModelType.SCORING, ModelType.EMBEDDING),
            query=query,
            documents=tuple(RerankDocument(text=text) for text in texts),
            top_n=top_n,
            text_truncation=truncate,
        )
        async with waiting("Scoring"):
            ranking = await client.rerank(request)
        for result in ranking.results:
            line = {"index": result.index, "score": result.relevance_score, "document": texts[result.index]}
            click.echo(json.dumps(line, ensure_ascii=False))
