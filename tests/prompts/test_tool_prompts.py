"""How conversations tell models about tools: byte for byte what Llama 3 models were trained on.

The golden prompts were made by another implementation; its date is always the 22nd of November 2026.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from service.api.messages import StopReason
from service.api.tools import (
    BuiltinTool,
    NamedToolChoice,
    SystemMessageBehavior,
    ToolCall,
    ToolChoice,
    ToolDefinition,
    ToolParamDefinition,
    ToolParameters,
    ToolPromptFormat,
)
from service.prompts import llama
from service.prompts.conversation import Turn
from service.prompts.image_places import segments as segments_of
from service.prompts.renderer import PromptStyle
from service.prompts.tool_prompts import with_tools
from service.tool_formats.dialects import PROMPTED, write_calls
from service.tool_formats.tools import tool_of
from service.tool_formats.use import ToolUse

GOLDEN = Path(__file__).parents[1] / "golden"
DATE_LINES = PromptStyle(date="22 November 2026").date_lines()
HELLO = Turn("user", "Hello there")


def golden(name: str) -> list[Any]:
    cases: list[Any] = json.loads((GOLDEN / name).read_text())
    return cases


def definition(described: dict[str, Any]) -> ToolDefinition:
    if "builtin" in described:
        return ToolDefinition(tool_name=BuiltinTool(described["builtin"]))
    parameters = tuple(
        ToolParamDefinition(
            **{key: value for key, value in parameter.items() if key != "default"},
            default_json=json.dumps(parameter["default"]) if "default" in parameter else None,
        )
        for parameter in described["parameters"]
    )
    return ToolDefinition(
        tool_name=described["name"],
        description=described["description"],
        input=ToolParameters(parameters=parameters),
    )


def choice_of(name: str) -> ToolChoice | NamedToolChoice:
    return ToolChoice(name) if name in ("auto", "required") else NamedToolChoice(tool_name=name)


def use_of(case: dict[str, Any]) -> ToolUse:
    return ToolUse(
        tools=tuple(tool_of(definition(described)) for described in case["tools"]),
        choice=choice_of(case["choice"]),
        several=True,
        native=None,
        format=ToolPromptFormat(case["format"]),
        behavior=SystemMessageBehavior(case["behavior"]),
    )


def turns_of(case: dict[str, Any]) -> list[Turn]:
    return [HELLO] if case["system"] is None else [Turn("system", case["system"]), HELLO]


def said(turns: list[Turn]) -> list[list[str]]:
    return [[turn.role, turn.content] for turn in turns]


def without_date(text: str) -> str:
    """Without date lines, and without the empty line in front of them where nothing follows."""
    return (
        text.removesuffix(f"\n{DATE_LINES}").rstrip("\n")
        if text.endswith(DATE_LINES)
        else text.replace(f"{DATE_LINES}\n", "")
    )


TOOL_PROMPTS = [case for case in golden("tool_prompts.json") if case["tools"]]


@pytest.mark.parametrize("case", TOOL_PROMPTS)
def test_tools_are_described_as_models_have_learned_it(case: dict[str, Any]) -> None:
    assert said(with_tools(turns_of(case), use_of(case), DATE_LINES)) == case["messages"]


@pytest.mark.parametrize("case", TOOL_PROMPTS)
def test_by_default_no_date_is_told(case: dict[str, Any]) -> None:
    told = said(with_tools(turns_of(case), use_of(case), PromptStyle().date_lines()))
    assert told == [[role, without_date(text)] for role, text in case["messages"]]


@pytest.mark.parametrize("case", golden("llama_dialogues.json"))
def test_a_llama_dialogue_is_framed_as_models_have_learned_it(case: dict[str, Any]) -> None:
    """But for several calls in Python, which are one list here."""
    calls = tuple(
        ToolCall(call_id="1", tool_name=BuiltinTool(name) if name in list(BuiltinTool) else name, arguments_json=given)
        for name, given in case["calls"]
    )
    answer = Turn("assistant", case["content"], calls, StopReason(case["stop_reason"]))
    turns = [Turn("system", "Sys"), Turn("user", "Hi"), answer, Turn("tool", "21 C")]
    dialect = PROMPTED[ToolPromptFormat(case["format"])]
    segments = llama.segments(
        turns, lambda written: write_calls(dialect, written), lambda said: segments_of(said, None)
    )
    assert "".join(segment.text for segment in segments) == case["prompt"]
    assert [segment.text for segment in segments if segment.trusted and "Sys" in segment.text] == []


FIRST = ToolCall(call_id="1", tool_name="f", arguments_json="{}")
SECOND = ToolCall(call_id="2", tool_name="g", arguments_json='{ "a":1.50, "b": "\\u00e9" }')


@pytest.mark.parametrize(
    ("tool_format", "written"),
    [
        ("python_list", '[f(), g(a=1.5, b="é")]'),
        ("function_tag", '<function=f>{}</function><function=g>{ "a":1.50, "b": "\\u00e9" }</function>'),
        (
            "json",
            '{"type": "function", "name": "f", "parameters": {}}'
            '{"type": "function", "name": "g", "parameters": { "a":1.50, "b": "\\u00e9" }}',
        ),
    ],
)
def test_calls_of_the_history_lose_nothing(tool_format: str, written: str) -> None:
    """In JSON they stay as they were, byte for byte; in Python several of them are one list."""
    assert write_calls(PROMPTED[ToolPromptFormat(tool_format)], [FIRST, SECOND]) == written


QUOTED = {
    "name": "f",
    "description": 'Says "hello"\nand \\',
    "parameters": [{"name": 'a"b', "param_type": "str", "description": None, "default": 0}],
}


@pytest.mark.parametrize("tool_format", list(ToolPromptFormat))
def test_quotes_are_escaped_and_nothing_is_called_none(tool_format: ToolPromptFormat) -> None:
    described = PROMPTED[tool_format].describe([tool_of(definition(QUOTED))])
    assert r'"description": "Says \"hello\"\nand \\"' in described
    assert "None" not in described
    assert r"a\"b" in described or r"a\u0022b" in described


@pytest.mark.parametrize("default", [0, False, "", None, 5])
def test_defaults_are_told_even_if_they_are_nothing(default: Any) -> None:
    parameter = {"name": "a", "param_type": "any", "description": "x", "default": default}
    tool = tool_of(definition({"name": "f", "description": "", "parameters": [parameter]}))
    assert f'"default": "{default}"' in PROMPTED[ToolPromptFormat.PYTHON_LIST].describe([tool])


TOOL = {"name": "f", "description": "Effs", "parameters": []}


def replaced(system: str, tool_format: str, tools: tuple[dict[str, Any], ...] = (TOOL,)) -> list[Turn]:
    case = {"tools": tools, "choice": "auto", "format": tool_format, "behavior": "replace"}
    return with_tools([Turn("system", system), HELLO], use_of(case))


@pytest.mark.parametrize("tool_format", list(ToolPromptFormat))
@pytest.mark.parametrize(
    "placeholder", ["{{function_definitions}}", "{{ function_description }}", "{{function_description}}"]
)
def test_placeholders_are_filled_and_nothing_else_is_run(tool_format: ToolPromptFormat, placeholder: str) -> None:
    turns = replaced(f"A {{{{7*7}}}} {{% if x %}} {placeholder} Z", tool_format)
    described = PROMPTED[tool_format].describe([tool_of(definition(TOOL))])
    assert f"A {{{{7*7}}}} {{% if x %}} {described} Z" in turns[0].content
    assert [turn.role for turn in turns] == ["system", "user"]


@pytest.mark.parametrize("tool_format", list(ToolPromptFormat))
def test_what_fills_a_placeholder_is_not_filled_again(tool_format: ToolPromptFormat) -> None:
    tool = TOOL | {"description": r"{{function_definitions}} \1 \g<0>"}
    text = replaced("{{ function_definitions }}", tool_format, (tool,))[0].content
    assert text.count("{{function_definitions}}") == (2 if tool_format == "function_tag" else 1)


def test_without_tools_a_conversation_stays_as_it_is() -> None:
    case = {"tools": [], "choice": "auto", "format": "json", "behavior": "append"}
    turns = [Turn("system", "Be brief. {{function_definitions}}"), HELLO]
    assert with_tools(turns, use_of(case), DATE_LINES) == turns
