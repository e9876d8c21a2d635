"""`inferwire chat`: a conversation on the terminal, or one question and its answer."""

import asyncio
import sys
from collections.abc import Callable
from contextlib import suppress

import rich_click as click

from service.api.chat import ChatCompletionRequest
from service.api.messages import CompletionMessage, Message, StopReason, SystemMessage, UserMessage
from service.api.models import ModelType
from service.cli.answers import print_answer
from service.cli.connection import Connection, connection_options
from service.cli.failures import FAILURES, failures_shown, show_failure
from service.cli.options import (
    Generation,
    chosen_model,
    generation_options,
    model_option,
    text_or_stdin,
)
from service.client import Client

WELCOME = "Talking to {model}. /new starts over; an empty line or Ctrl-D ends."


class Conversation:
    """The messages so far, and how the next answer is generated."""

    def __init__(self, client: Client, model_id: str, system: str | None, generation: Generation) -> None:
        self._client = client
        self._model_id = model_id
        self._generation = generation
        self._system: list[Message] = [] if system is None else [SystemMessage(content=system)]
        self._history: list[Message] = []

    def clear(self) -> None:
        self._history.clear()

    async def ask(self, text: str) -> None:
        """Prints the answer. Question and answer become history once the answer is whole."""
        question = UserMessage(content=text)
        request = ChatCompletionRequest(
            model_id=self._model_id,
            messages=(*self._system, *self._history, question),
            sampling_params=self._generation.sampling_params(),
            response_format=self._generation.response_format(),
        )
        answer = await print_answer(self._client.stream_chat(request), self._generation.show_usage)
        self._history += [question, CompletionMessage(content=answer, stop_reason=StopReason.END_OF_TURN)]


@click.command()
@connection_options
@model_option("language model")
@click.option("-m", "--message", metavar="TEXT", help="Ask this one question and end.")
@click.option("--system", metavar="TEXT", help="A system message before the conversation.")
@generation_options
def chat(
    connection: Connection, model: str | None, message: str | None, system: str | None, generation: Generation
) -> None:
    """Talk to a language model.

    Without --message, a conversation; what is piped in counts as the message.
    """
    message = text_or_stdin(message)
    if message is None and not sys.stdin.isatty():
        raise click.UsageError("Nothing to ask: give a message with -m, or pipe one in.")
    # A runner, so that Ctrl-C cancels the answer under way, but ends the prompt, which waits outside of the loop.
    with asyncio.Runner() as runner, failures_shown(connection.target):
        client = runner.run(connection.open())
        try:
            model_id = runner.run(chosen_model(client, model, ModelType.LLM))
            conversation = Conversation(client, model_id, system, generation)
            if message is not None:
                runner.run(conversation.ask(message))
            else:
                click.secho(WELCOME.format(model=model_id), dim=True, err=True)
                converse(conversation, lambda text: runner.run(conversation.ask(text)), connection.target)
        finally:
            runner.run(client.close())


def converse(
    conversation: Conversation, ask: Callable[[str], None], target: str, read_line: Callable[[str], str] = input
) -> None:
    """Asks line after line. A failed or interrupted answer is left out of the history, and the conversation goes on."""
    with suppress(ImportError):
        import readline  # noqa: F401  gives `input` editing and recall of lines

    while (text := _next_line(read_line)) is not None:
        if text == "/new":
            conversation.clear()
            continue
        try:
            ask(text)
        except FAILURES as failure:
            show_failure(failure, target)
        except KeyboardInterrupt:
            click.echo()


def _next_line(read_line: Callable[[str], str]) -> str | None:
    """None when the conversation is to end: by an empty line, Ctrl-D or Ctrl-C."""
    try:
        return read_line("> ").strip() or None
    except (EOFError, KeyboardInterrupt):
        click.echo()
        return None
