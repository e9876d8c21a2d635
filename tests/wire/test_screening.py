"""What is refused before a request is read."""

import pytest
from google.protobuf.message import Message

from inferwire.v1.chat_pb2 import ChatCompletionRequest
from inferwire.v1.models_pb2 import RegisterModelRequest
from inferwire.v1.preflight_pb2 import PreflightRequest
from service.errors import MessageTooLarge, UnknownField
from service.wire.screening import screen

MANY = 1000
# Field 1000 with the varint 1, which no message of the contract has.
UNKNOWN_FIELD = b"\xc0\x3e\x01"


def holding(fragment: Message, path: str) -> ChatCompletionRequest:
    """A request in which the message at `path` has an unknown field."""
    request = ChatCompletionRequest()
    request.CopyFrom(fragment)
    target = request
    for step in path.split(".") if path else ():
        name, _, index = step.partition("[")
        target = getattr(target, name)
        target = target[int(index.rstrip("]"))] if index else target
    target.MergeFromString(UNKNOWN_FIELD)
    return ChatCompletionRequest.FromString(request.SerializeToString())


FULL = ChatCompletionRequest(
    messages=[
        {"system": {"content": {"text": "Be brief."}}},
        {"user": {"content": {"items": {"items": [{"text": "a"}, {"image": {"data": {"data": b"a"}}}]}}}},
    ],
    sampling_params={"top_p": {}, "logit_bias": {1: 1.0}},
    tools=[{"tool_name": {"custom": "x"}, "parameters": {"parameters": [{}, {}]}}],
    tool_config={"named_tool": {}},
)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "messages[0]",
        "messages[1].user.content.items.items[1].image.data",
        "sampling_params",
        "sampling_params.top_p",
        "tools[0].parameters.parameters[1]",
        "tool_config.named_tool",
    ],
)
def test_an_unknown_field_is_found_at_any_depth(path: str) -> None:
    with pytest.raises(UnknownField, match="1000") as refused:
        screen(holding(FULL, path), MANY)
    assert [violation.field for violation in refused.value.violations] == [path]


def test_a_request_of_known_fields_passes() -> None:
    screen(FULL, MANY)


HOLDING_FOUR = [
    {"tools": [{}] * 4},
    {"tools": [{"parameters": {"parameters": [{}, {}]}}, {}]},
    {"sampling_params": {"stop": ["a", "b"], "stop_token_ids": [1, 2]}},
    {"sampling_params": {"logit_bias": {1: 0.5, 2: 0.5, 3: 0.5, 4: 0.5}}},
    {"response_format": {"grammar": {"bnf": {"rules": {"a": "", "b": "", "c": "", "root": ""}}}}},
]


@pytest.mark.parametrize("fields", HOLDING_FOUR, ids=str)
def test_elements_are_counted_at_any_depth(fields: dict) -> None:  # type: ignore[type-arg]
    request = ChatCompletionRequest(**fields)
    screen(request, 4)
    screen(PreflightRequest(chat=request), 4)
    with pytest.raises(MessageTooLarge) as refused:
        screen(request, 3)
    assert refused.value.metadata == {"elements": "4", "limit": "3"}
    assert refused.value.violations[0].field


def test_so_are_facts() -> None:
    request = RegisterModelRequest(metadata={"a": [1, {"b": 2}]})
    screen(request, 4)
    with pytest.raises(MessageTooLarge, match="metadata"):
        screen(request, 3)


def test_the_first_list_too_many_is_named() -> None:
    request = ChatCompletionRequest(
        messages=[{"user": {"content": {"items": {"items": [{"text": "a"}]}}}}] * 2, tools=[{}] * 6
    )
    with pytest.raises(MessageTooLarge, match=r"^tools: .* more than 9 elements") as refused:
        screen(request, 9)
    assert refused.value.metadata == {"elements": "10", "limit": "9"}


def test_millions_of_elements_are_not_looked_at_one_by_one() -> None:
    """An empty message takes two bytes."""
    request = ChatCompletionRequest.FromString(b"\x12\x00" * 500_000)
    assert len(request.messages) == 500_000
    with pytest.raises(MessageTooLarge, match=r"^messages: "):
        screen(request, MANY)
