"""Messages as turns: who speaks, what is joined, and what a model that only reads text can't be told."""

from typing import Any

import pytest

from service.api.content import ImageContentItem, ImageUrl, TextContentItem
from service.api.messages import (
    CompletionMessage,
    Message,
    StopReason,
    SystemMessage,
    ToolResponse,
    ToolResponseMessage,
    UserMessage,
)
from service.api.response_format import JsonObjectResponseFormat, JsonSchemaResponseFormat, ResponseFormat
from service.api.tools import BuiltinTool, ToolCall
from service.errors import InvalidField, UnsupportedByModel
from service.prompts.conversation import SCHEMA_REQUEST, Turn, images_of, turns_of
from service.prompts.image_places import PLACE

HELLO = UserMessage(content="Hello?")
PICTURE = ImageContentItem(source=ImageUrl(url="https://example.com/cat.png"))
LOOK = (TextContentItem(text="Look: "), PICTURE)
SCHEMA = '{"type": "integer"}'
CALL = ToolCall(call_id="1", tool_name="add", arguments_json='{"a": 1, "b": 2.0}')


@pytest.mark.parametrize(
    ("messages", "turns"),
    [
        ([HELLO], [Turn("user", "Hello?")]),
        ([SystemMessage(content="Be brief."), HELLO], [Turn("system", "Be brief."), Turn("user", "Hello?")]),
        (
            [SystemMessage(content="A"), HELLO, SystemMessage(content="B"), SystemMessage(content="C")],
            [Turn("system", "A\nB\nC"), Turn("user", "Hello?")],
        ),
        ([HELLO, SystemMessage(content="A")], [Turn("system", "A"), Turn("user", "Hello?")]),
        ([SystemMessage(content=""), HELLO], [Turn("system", ""), Turn("user", "Hello?")]),
        ([UserMessage(content="Q", context="Facts.")], [Turn("user", "Q\n\nFacts.")]),
        ([UserMessage(content="Q", context="")], [Turn("user", "Q\n\n")]),
        ([UserMessage(content="")], [Turn("user", "")]),
        ([UserMessage(content=(TextContentItem(text="a "), TextContentItem(text="b")))], [Turn("user", "a b")]),
        ([HELLO, CompletionMessage(content="Hi.")], [Turn("user", "Hello?"), Turn("assistant", "Hi.")]),
        ([HELLO, HELLO], [Turn("user", "Hello?"), Turn("user", "Hello?")]),
        ([ToolResponseMessage(call_id="1", content="3")], [Turn("tool", "3", call_id="1")]),
    ],
)
def test_messages_become_turns(messages: list[Message], turns: list[Turn]) -> None:
    assert turns_of(messages) == turns


def test_calls_of_the_history_stay_calls_until_the_dialect_is_known() -> None:
    message = CompletionMessage(content="Let me see. ", tool_calls=(CALL,), stop_reason=StopReason.END_OF_MESSAGE)
    assert turns_of([message]) == [
        Turn("assistant", "Let me see. ", calls=(CALL,), stop_reason=StopReason.END_OF_MESSAGE)
    ]


@pytest.mark.parametrize(
    ("name", "arguments", "problem"),
    [
        ("add", '{"a": ', "not JSON"),
        ("add", "[1]", "not a JSON object"),
        ("add", "[" * 100_000, "not JSON"),
        (BuiltinTool.BRAVE_SEARCH, "{}", "takes the argument `query`"),
        (BuiltinTool.CODE_INTERPRETER, '{"query": "x"}', "takes the argument `code`"),
    ],
)
def test_calls_of_the_history_need_arguments_that_can_be_written(name: Any, arguments: str, problem: str) -> None:
    call = ToolCall(call_id="1", tool_name=name, arguments_json=arguments)
    with pytest.raises(InvalidField, match=problem) as refused:
        turns_of([HELLO, CompletionMessage(content="", tool_calls=(CALL, call))])
    assert [v.field for v in refused.value.violations] == ["messages[1].assistant.tool_calls[1].arguments_json"]


def test_a_call_of_the_history_without_a_tool_is_refused() -> None:
    nameless = CALL.model_copy(update={"tool_name": None})
    with pytest.raises(InvalidField) as refused:
        turns_of([HELLO, CompletionMessage(content="", tool_calls=(CALL, nameless))])
    assert [v.field for v in refused.value.violations] == ["messages[1].assistant.tool_calls[1].tool_name"]


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (UserMessage(content="Q", context=(PICTURE,)), "messages[1].user.context.items.items[0].image"),
        (SystemMessage(content=LOOK), "messages[1].system.content.items.items[1].image"),
        (CompletionMessage(content=LOOK), "messages[1].assistant.content.items.items[1].image"),
    ],
)
def test_an_image_is_refused_where_none_is_read(message: Message, field: str) -> None:
    with pytest.raises(UnsupportedByModel, match="Images are read in user and tool messages") as refused:
        turns_of([HELLO, message])
    assert [violation.field for violation in refused.value.violations] == [field]


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (UserMessage(content=LOOK, context="Facts."), "messages[1].user.content.items.items[1].image"),
        (ToolResponseMessage(call_id="1", content=LOOK), "messages[1].tool.content.items.items[1].image"),
        (
            ToolResponse(call_id="1", tool_name="a", content=LOOK),
            "messages[1].tool_response.content.items.items[1].image",
        ),
    ],
)
def test_an_image_keeps_its_place_and_its_path(message: Message, field: str) -> None:
    turns = turns_of([HELLO, message], JsonSchemaResponseFormat(json_schema=SCHEMA))
    assert [image.field for image in images_of(turns)] == [field]
    assert turns[1].content.startswith(f"Look: {PLACE}")


@pytest.mark.parametrize("messages", [[SystemMessage(content="A")], [SystemMessage(content="A")] * 2])
def test_instructions_alone_are_no_conversation(messages: list[Message]) -> None:
    with pytest.raises(InvalidField) as refused:
        turns_of(messages)
    assert [violation.field for violation in refused.value.violations] == ["messages"]


@pytest.mark.parametrize("describe", [None, True])
def test_a_wanted_schema_is_told_behind_what_the_user_said_last(describe: bool | None) -> None:
    shape = JsonSchemaResponseFormat(json_schema=SCHEMA, describe_in_prompt=describe)
    first, last = turns_of([SystemMessage(content="A"), HELLO], shape)
    assert (first, last) == (Turn("system", "A"), Turn("user", f"Hello?\n\n{SCHEMA_REQUEST}{SCHEMA}"))


def test_after_another_speaker_the_schema_is_a_turn_of_the_users() -> None:
    turns = turns_of([HELLO, CompletionMessage(content="Hi.")], JsonSchemaResponseFormat(json_schema=SCHEMA))
    assert turns[1:] == [Turn("assistant", "Hi."), Turn("user", SCHEMA_REQUEST + SCHEMA)]


@pytest.mark.parametrize(
    "shape",
    [None, JsonObjectResponseFormat(), JsonSchemaResponseFormat(json_schema=SCHEMA, describe_in_prompt=False)],
)
def test_otherwise_the_conversation_is_left_alone(shape: ResponseFormat | None) -> None:
    assert turns_of([HELLO], shape) == [Turn("user", "Hello?")]
