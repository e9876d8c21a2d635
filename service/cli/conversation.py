"""A conversation: questions, the calls of tools that come between, answers, and what of it is remembered."""

from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, TypeAlias

import rich_click as click

from service.api.chat import ChatCompletionRequest, ReasoningConfig
from service.api.content import ImageContentItem
from service.api.messages import Message, SystemMessage, UserMessage
from service.api.tools import ToolCall, ToolCallVerdict
from service.cli.answers import Answer, print_answer
from service.cli.failures import FAILURES, show_failure
from service.cli.images import image_from, with_images
from service.cli.options import Generation
from service.cli.tool_answers import ToolAnswers
from service.cli.tool_use import ToolUse
from service.client import Client

Wait: TypeAlias = Callable[[Coroutine[Any, Any, Answer]], Answer]

NEW, IMAGE = "/new", "/image "


class TurnFailed(Exception):
    """A question has led to no answer, for a reason that no call to the server tells."""


class Conversation:
    """The messages so far, and how the next answer is generated."""

    def __init__(
        self,
        client: Client,
        model_id: str,
        system: str | None,
        generation: Generation,
        use: ToolUse | None = None,
        reasoning: ReasoningConfig | None = None,
    ) -> None:
        self._client = client
        self._model_id = model_id
        self._generation = generation
        self._use = use or ToolUse()
        self._reasoning = reasoning
        self._system: list[Message] = [] if system is None else [SystemMessage(content=system)]
        self._history: list[Message] = []

    def clear(self) -> None:
        self._history.clear()

    def remember(self, turn: Sequence[Message]) -> None:
        self._history += turn

    async def answer(self, turn: Sequence[Message]) -> Answer:
        """Prints the answer to the messages of a turn, which become history only once the turn is over."""
        request = ChatCompletionRequest(
            model_id=self._model_id,
            messages=(*self._system, *self._history, *turn),
            sampling_params=self._generation.sampling_params(),
            response_format=self._generation.response_format(),
            tools=tuple(self._use.tools.definitions),
            tool_config=self._use.config(first=len(turn) == 1),
            reasoning=self._reasoning,
        )
        return await print_answer(self._client.stream_chat(request), self._generation.show_usage)


class Turns:
    """Leads a question to its answer, through the calls of tools that come between."""

    def __init__(self, conversation: Conversation, tools: ToolAnswers, rounds: int, wait: Wait) -> None:
        """`wait` runs a coroutine. Tools are asked outside of it: a person may take time, and may press Ctrl-C."""
        self._conversation = conversation
        self._tools = tools
        self._rounds = rounds
        self._wait = wait

    def take(self, text: str, images: Sequence[ImageContentItem] = ()) -> None:
        """Raises TurnFailed and NobodyAnswers. A turn that isn't taken to its end is left out of the history."""
        turn: list[Message] = [UserMessage(content=with_images(text, list(images)))]
        for _ in range(self._rounds):
            answer = self._wait(self._conversation.answer(turn))
            turn.append(answer.message())
            if not answer.calls:
                self._conversation.remember(turn)
                return
            turn += self._answered(answer.calls)
        raise TurnFailed(f"The model has called tools in {self._rounds} answers; --tool-rounds allows more.")

    def _answered(self, calls: Sequence[ToolCall]) -> Sequence[Message]:
        for call in calls:
            if call.verdict is not ToolCallVerdict.COMPLETE:
                raise TurnFailed(f"No tool can be given a call that is {call.verdict}.")
        return self._tools.answer(calls)


def converse(
    conversation: Conversation,
    turns: Turns,
    target: str,
    images: Sequence[ImageContentItem] = (),
    read_line: Callable[[str], str] = input,
) -> None:
    """Asks line after line. A failed or interrupted answer is left out of the history, and the conversation goes on."""
    with suppress(ImportError):
        import readline  # noqa: F401  gives `input` editing and recall of lines

    attached = list(images)
    while (text := _next_line(read_line)) is not None:
        if text == NEW:
            conversation.clear()
            attached.clear()
        elif text.startswith(IMAGE):
            attached += _image(text.removeprefix(IMAGE).strip())
        else:
            _take(turns, text, attached, target)
            attached.clear()


def _take(turns: Turns, text: str, images: Sequence[ImageContentItem], target: str) -> None:
    try:
        turns.take(text, images)
    except FAILURES as failure:
        show_failure(failure, target)
    except TurnFailed as failure:
        click.secho(f"error: {failure}", fg="red", err=True)
    except (KeyboardInterrupt, click.Abort):
        click.echo()


def _image(source: str) -> list[ImageContentItem]:
    try:
        return [image_from(source)]
    except click.UsageError as error:
        click.secho(f"error: {error.message}", fg="red", err=True)
        return []


def _next_line(read_line: Callable[[str], str]) -> str | None:
    """None when the conversation is to end: by an empty line, Ctrl-D or Ctrl-C."""
    try:
        return read_line("> ").strip() or None
    except (EOFError, KeyboardInterrupt):
        click.echo()
        return None
