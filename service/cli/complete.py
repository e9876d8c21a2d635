"""`inferwire complete`: the continuation of a text."""

import asyncio

import rich_click as click

from service.api.completion import CompletionRequest
from service.api.models import ModelType
from service.cli.answers import print_answer
from service.cli.connection import Connection, connection_options
from service.cli.failures import failures_shown
from service.cli.options import (
    Generation,
    chosen_model,
    generation_options,
    model_option,
    text_or_stdin,
)


@click.command()
@click.argument("text", required=False)
@connection_options
@model_option("language model")
@generation_options
def complete(text: str | None, connection: Connection, model: str | None, generation: Generation) -> None:
    """Let a language model continue TEXT, or what is piped in."""
    text = text_or_stdin(text)
    if text is None:
        raise click.UsageError("Nothing to continue: give a text, or pipe one in.")
    with failures_shown(connection.target):
        asyncio.run(_print_continuation(text, connection, model, generation))


async def _print_continuation(text: str, connection: Connection, model: str | None, generation: Generation) -> None:
    async with await connection.open() as client:
        request = CompletionRequest(
            model_id=await chosen_model(client, model, ModelType.LLM),
            content=text,
            sampling_params=generation.sampling_params(),
            response_format=generation.response_format(),
        )
        await print_answer(client.stream_completion(request), generation.show_usage)
