"""A conversation as the turns that a chat template understands: roles, plain strings, and calls."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, assert_never

from service.api.content import ImageContentItem, InterleavedContent, TextContentItem, content_items
from service.api.messages import (
    CompletionMessage,
    Message,
    StopReason,
    SystemMessage,
    ToolResponse,
    ToolResponseMessage,
    UserMessage,
)
from service.api.response_format import JsonSchemaResponseFormat, ResponseFormat
from service.api.tools import BuiltinTool, ToolCall
from service.errors import Findings, InvalidField, UnsupportedByModel
from service.prompts.image_places import PLACE
from service.tool_formats.tools import BUILTIN_ARGUMENT

# Of arguments; they are written anew by functions that call themselves.
MAX_DEPTH = 100
SCHEMA_REQUEST = "Please respond in JSON format with the schema: "


@dataclass(frozen=True, slots=True)
class PlacedImage:
    """An image of a request, and the path of its field."""

    field: str
    item: ImageContentItem


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn; `role` is one of system, user, assistant, tool. `content` has a PLACE for each of `images`."""

    role: str
    content: str
    calls: tuple[ToolCall, ...] = ()
    """Of the assistant; their arguments are JSON objects."""
    stop_reason: StopReason | None = None
    """Of the assistant."""
    call_id: str = ""
    """Of a tool: what it answers."""
    tool_name: str = ""
    images: tuple[PlacedImage, ...] = ()
    reasoning: str = ""
    """Of the assistant: what it thought before."""


def turns_of(messages: Sequence[Message], response_format: ResponseFormat | None = None) -> list[Turn]:
    """The conversation, with all system messages joined at its head and the wanted schema named at its end.

    Raises RequestErrors that tell of all messages.
    """
    instructions = []
    turns = []
    findings = Findings()
    for index, message in enumerate(messages):
        path = f"messages[{index}]"
        with findings.noting():
            if isinstance(message, SystemMessage):
                instructions.append(text_of(message.content, f"{path}.system.content"))
            else:
                turns.append(_turn(message, path))
    findings.raise_all()
    if not turns:
        raise InvalidField("messages", "At least one message that is not a system message is required.")
    head = [Turn("system", "\n".join(instructions))] if instructions else []
    return head + _with_schema(turns, response_format)


def text_of(content: InterleavedContent, path: str) -> str:
    """The text of a content that may not hold images, its items joined without a separator."""
    text, images = text_and_images(content, path)
    if images:
        raise UnsupportedByModel(images[0].field, "Images are read in user and tool messages, and in completions.")
    return text


def text_and_images(content: InterleavedContent, path: str) -> tuple[str, tuple[PlacedImage, ...]]:
    """The text of a content, its items joined without a separator, with a PLACE for each of its images."""
    texts, images = [], []
    for index, item in enumerate(content_items(content)):
        match item:
            case TextContentItem(text=text):
                texts.append(text)
            case ImageContentItem():
                texts.append(PLACE)
                images.append(PlacedImage(f"{path}.items.items[{index}].image", item))
            case _:
                assert_never(item)
    return "".join(texts), tuple(images)


def images_of(turns: Sequence[Turn]) -> list[PlacedImage]:
    """In the order in which the model reads them."""
    return [image for turn in turns for image in turn.images]


def _turn(message: UserMessage | ToolResponseMessage | CompletionMessage | ToolResponse, path: str) -> Turn:
    match message:
        case UserMessage():
            return _user_turn(message, path)
        case ToolResponseMessage():
            return _tool_turn(message, f"{path}.tool")
        case ToolResponse():
            return _tool_turn(message.to_message(), f"{path}.tool_response")
        case CompletionMessage(tool_calls=calls, stop_reason=stop_reason):
            _check_calls(calls, f"{path}.assistant.tool_calls")
            text = text_of(message.content, f"{path}.assistant.content")
            return Turn("assistant", text, calls=calls, stop_reason=stop_reason, reasoning=message.reasoning)
        case _:
            assert_never(message)


def _tool_turn(message: ToolResponseMessage, path: str) -> Turn:
    text, images = text_and_images(message.content, f"{path}.content")
    return Turn("tool", text, call_id=message.call_id, tool_name=message.tool_name or "", images=images)


def _check_calls(calls: Sequence[ToolCall], path: str) -> None:
    for index, call in enumerate(calls):
        if call.tool_name is None:
            raise InvalidField(f"{path}[{index}].tool_name", "A call of the history needs its tool's name.")
        if problem := _problem_of_arguments(call):
            raise InvalidField(f"{path}[{index}].arguments_json", problem)


def _problem_of_arguments(call: ToolCall) -> str | None:
    try:
        arguments = json.loads(call.arguments_json or "{}")
        # Not so with infinite numbers and with halves of surrogate pairs, which no prompt could hold.
        json.dumps(arguments, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        return f"The arguments are not JSON: {error}."
    if _depth(arguments) > MAX_DEPTH:
        return f"The arguments are nested more than {MAX_DEPTH} levels deep."
    if not isinstance(arguments, dict):
        return "The arguments are not a JSON object."
    if isinstance(call.tool_name, BuiltinTool) and not isinstance(arguments.get(BUILTIN_ARGUMENT[call.tool_name]), str):
        return f"{call.tool_name} takes the argument `{BUILTIN_ARGUMENT[call.tool_name]}`, a string."
    return None


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level:
        depth += 1
        inner = [item.values() if isinstance(item, dict) else item for item in level if isinstance(item, dict | list)]
        level = [item for items in inner for item in items]
    return depth


def _user_turn(message: UserMessage, path: str) -> Turn:
    text, images = text_and_images(message.content, f"{path}.user.content")
    if message.context is not None:
        text = f"{text}\n\n{text_of(message.context, f'{path}.user.context')}"
    return Turn("user", text, images=images)


def _with_schema(turns: list[Turn], response_format: ResponseFormat | None) -> list[Turn]:
    if not isinstance(response_format, JsonSchemaResponseFormat) or response_format.describe_in_prompt is False:
        return turns
    request = SCHEMA_REQUEST + response_format.json_schema
    last = turns[-1]
    if last.role != "user":
        return [*turns, Turn("user", request)]
    return [*turns[:-1], replace(last, content=f"{last.content}\n\n{request}")]
