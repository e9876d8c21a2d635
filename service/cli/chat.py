"""`inferwire chat`: a conversation on the terminal, or one question and its answer."""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

import rich_click as click

from service.api.chat import ReasoningConfig
from service.api.content import ImageContentItem
from service.api.models import ModelType
from service.cli.connection import FILE, Connection, connection_options
from service.cli.conversation import Conversation, TurnFailed, Turns, converse
from service.cli.failures import failures_shown
from service.cli.images import image_from
from service.cli.options import (
    Generation,
    chosen_model,
    generation_options,
    model_option,
    reasoning_options,
    text_or_stdin,
)
from service.cli.tool_answers import NobodyAnswers, ToolAnswers, call_as_json
from service.cli.tool_use import ToolUse, tool_options

WELCOME = "Talking to {model}. /new starts over, /image FILE goes with the next question; an empty line or Ctrl-D ends."


@click.command()
@connection_options
@model_option("language model")
@click.option("-m", "--message", metavar="TEXT", help="Ask this one question and end.")
@click.option("--system", metavar="TEXT", help="A system message before the conversation.")
@click.option("--system-file", type=FILE, metavar="FILE", help="A file that holds the system message.")
@click.option(
    "--image", "images", multiple=True, metavar="FILE_OR_URL", help="An image with the first question; may be repeated."
)
@tool_options
@reasoning_options
@generation_options
def chat(
    connection: Connection,
    model: str | None,
    message: str | None,
    system: str | None,
    system_file: Path | None,
    images: tuple[str, ...],
    tool_use: ToolUse,
    reasoning: ReasoningConfig | None,
    generation: Generation,
) -> None:
    """Talk to a language model.

    Without --message, a conversation; what is piped in counts as the message.

    A file of --tools is a list of tools, each with name, description, parameters (a JSON Schema) and command: a list of
    a program and its arguments. The program gets the arguments of a call as JSON on its standard input, and the model
    what it prints. Where a tool has no command, you are asked what it says; where no terminal is, the calls are printed
    as JSON, one a line, and are the end.
    """
    message = text_or_stdin(message)
    if message is None and not sys.stdin.isatty():
        raise click.UsageError("Nothing to ask: give a message with -m, or pipe one in.")
    tools = ToolAnswers(tool_use.tools, person=_asked if sys.stdin.isatty() else None, approve=tool_use.approve)
    system, attached = _system_message(system, system_file), [image_from(image) for image in images]
    # A runner, so that Ctrl-C cancels the answer under way, but ends the prompt, which waits outside of the loop.
    with asyncio.Runner() as runner, failures_shown(connection.target):
        client = runner.run(connection.open())
        try:
            model_id = runner.run(chosen_model(client, model, ModelType.LLM))
            conversation = Conversation(client, model_id, system, generation, tool_use, reasoning)
            turns = Turns(conversation, tools, tool_use.rounds, runner.run)
            if message is not None:
                _ask_once(turns, message, attached)
            else:
                click.secho(WELCOME.format(model=model_id), dim=True, err=True)
                converse(conversation, turns, connection.target, images=attached)
        finally:
            runner.run(client.close())


def _system_message(text: str | None, file: Path | None) -> str | None:
    if text is not None and file:
        raise click.UsageError("Either --system or --system-file.")
    return file.read_text(encoding="utf-8") if file else text


def _asked(prompt: str) -> str:
    # On standard error, which `input` does not know.
    return str(click.prompt(prompt, prompt_suffix="", default="", show_default=False, err=True))


def _ask_once(turns: Turns, message: str, images: Sequence[ImageContentItem]) -> None:
    try:
        turns.take(message, images)
    except NobodyAnswers as unanswered:
        for call in unanswered.calls:
            click.echo(call_as_json(call))
    except TurnFailed as failure:
        click.secho(f"error: {failure}", fg="red", err=True)
        sys.exit(1)
