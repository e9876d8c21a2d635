"""All places of a request where a caller can write something that reaches the prompt."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from service.api.content import TextContentItem
from service.api.messages import (
    CompletionMessage,
    Message,
    SystemMessage,
    ToolResponse,
    ToolResponseMessage,
    UserMessage,
)
from service.api.response_format import JsonSchemaResponseFormat, ResponseFormat
from service.api.tools import (
    SystemMessageBehavior,
    ToolCall,
    ToolConfig,
    ToolDefinition,
    ToolInputSchema,
    ToolParamDefinition,
    ToolParameters,
)

HELLO = UserMessage(content="Hello?")


@dataclass(frozen=True)
class Asked:
    """What a prompt is made of."""

    messages: tuple[Message, ...] = (HELLO,)
    tools: tuple[ToolDefinition, ...] = ()
    config: ToolConfig | None = None
    response_format: ResponseFormat | None = None


Position: TypeAlias = Callable[[str], Asked]


def items(text: str) -> tuple[TextContentItem, ...]:
    """As many as there can be."""
    return tuple(TextContentItem(text=char) for char in text)


def _user(**fields: Any) -> Asked:
    return Asked((HELLO, CompletionMessage(content="Hi."), UserMessage(**fields)))


def _assistant(said: Any) -> Asked:
    return Asked((HELLO, CompletionMessage(content=said), HELLO))


def _call(said: str = "", *, result: Any = "result", **fields: Any) -> Asked:
    call = ToolCall(**{"call_id": "c1", "tool_name": "f", "arguments_json": '{"a": "b"}', **fields})
    answer = ToolResponseMessage(call_id=call.call_id, content=result)
    return Asked((HELLO, CompletionMessage(content=said, tool_calls=(call,)), answer))


def _response(text: str) -> Asked:
    *before, _ = _call(call_id=text).messages
    return Asked((*before, ToolResponse(call_id=text, tool_name="f", content=text)))


def _tool(told: str = "", **parameter: Any) -> Asked:
    parameters = (ToolParamDefinition(**{"name": "a", "param_type": "str", **parameter}),)
    return Asked(tools=(ToolDefinition(tool_name="f", description=told, input=ToolParameters(parameters=parameters)),))


def _schema(text: str) -> Asked:
    schema = {
        "type": "object",
        "title": text,
        "properties": {text: {"enum": [text], "description": text, "default": {text: text}}},
        "required": [text],
    }
    given = ToolInputSchema(input_schema_json=json.dumps(schema))
    return Asked(tools=(ToolDefinition(tool_name="f", input=given),))


def _replaced(text: str) -> Asked:
    own = SystemMessage(content=text + "{{ function_definitions }}" + text)
    config = ToolConfig(system_message_behavior=SystemMessageBehavior.REPLACE)
    return replace(_tool(text), messages=(own, HELLO), config=config)


def _escaped(text: str) -> str:
    return "".join(f"\\u{ord(char):04x}" for char in text)


TALK: dict[str, Position] = {
    "user": lambda text: _user(content=text),
    "user, in items": lambda text: _user(content=items(text)),
    "context": lambda text: _user(content="Hello?", context=text),
    "context, in items": lambda text: _user(content="Hello?", context=items(text)),
    "assistant": _assistant,
    "assistant, in items": lambda text: _assistant(items(text)),
    "wanted schema": lambda text: replace(
        _user(content="Hello?"), response_format=JsonSchemaResponseFormat(json_schema=json.dumps({text: text}))
    ),
}
SYSTEM: dict[str, Position] = {
    "system": lambda text: Asked((SystemMessage(content=text), HELLO)),
    "system, in items": lambda text: Asked((SystemMessage(content=items(text)), HELLO)),
}
CALLS: dict[str, Position] = {
    "words before a call": lambda text: _call(text),
    "name of a call": lambda text: _call(tool_name=text),
    "id of a call": lambda text: _call(call_id=text),
    "argument": lambda text: _call(arguments_json=json.dumps({"a": text})),
    "escaped argument": lambda text: _call(arguments_json=f'{{"a": "{_escaped(text)}"}}'),
    "name of an argument": lambda text: _call(arguments_json=json.dumps({text: 1, "b": {text: [text]}})),
    "result": lambda text: _call(result=text),
    "result, in items": lambda text: _call(result=items(text)),
    "tool response": _response,
}
TOOLS: dict[str, Position] = {
    "description": _tool,
    "name of a parameter": lambda text: _tool(name=text),
    "type of a parameter": lambda text: _tool(param_type=text),
    "description of a parameter": lambda text: _tool(description=text),
    "default of a parameter": lambda text: _tool(default_json=json.dumps(text)),
    "schema": _schema,
    "replacing system message": _replaced,
}
