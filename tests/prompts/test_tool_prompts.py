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


def without_date(messages: list[list[str]]) -> list[list[str]]:
    """Without date lines, and without the line feed in front of them where they stood alone."""
    lines = f"\n{DATE_LINES}"
    return [[role, text.replace(lines, "", 1).removesuffix("ipython\n") or text] for role, text in messages]


TOOL_PROMPTS = [case for case in golden("tool_prompts.json") if case["tools"]]


@pytest.mark.parametrize("case", TOOL_PROMPTS)
def test_tools_are_described_as_models_have_learned_it(case: dict[str, Any]) -> None:
    assert said(with_tools(turns_of(case), use_of(case), DATE_LINES)) == case["messages"]
