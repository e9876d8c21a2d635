"""Tools as callers give them, what is refused of them, and the verdict on calls."""

import json
from typing import Any

import pytest

from service.api.tools import (
    BuiltinTool,
    NamedToolChoice,
    ToolCallVerdict,
    ToolChoice,
    ToolConfig,
    ToolDefinition,
    ToolInputSchema,
    ToolParamDefinition,
    ToolParameters,
    ToolPromptFormat,
)
from service.decoding.tools import CallJudge, checked_tools
from service.errors import InvalidConstraint, InvalidField, RequestError
from service.tool_formats.builtin import BuiltinReader
from service.tool_formats.native import NativeDialect
from service.tool_formats.param_types import schema_of_type
from service.tool_formats.reading import CallRead
from service.tool_formats.tools import Tool
from service.tool_formats.use import ModelDialects, ToolUse, tool_use

LARGE = 10_000


@pytest.mark.parametrize(
    ("written", "schema"),
    [
        *((name, {"type": "string"}) for name in ("str", "string", " String ", "TEXT")),
        *((name, {"type": "integer"}) for name in ("int", "integer", "long")),
        *((name, {"type": "number"}) for name in ("float", "number", "double")),
        *((name, {"type": "boolean"}) for name in ("bool", "boolean")),
        *((name, {"type": "array"}) for name in ("list", "array", "tuple")),
        *((name, {"type": "object"}) for name in ("dict", "object", "map")),
        ("list[int]", {"type": "array", "items": {"type": "integer"}}),
        ("typing.List[str]", {"type": "array", "items": {"type": "string"}}),
        ("array<string>", {"type": "array", "items": {"type": "string"}}),
        ("list[list[float]]", {"type": "array", "items": {"type": "array", "items": {"type": "number"}}}),
        ("dict[str, bool]", {"type": "object", "additionalProperties": {"type": "boolean"}}),
        ("Optional[int]", {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
        ("int | None", {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
        ("Union[int, list[str]]", {"anyOf": [{"type": "integer"}, {"type": "array", "items": {"type": "string"}}]}),
        ('{"enum": ["a|b", "c"]}', {"enum": ["a|b", "c"]}),
        *((name, {}) for name in ("any", "MyClass", "list[", "int | whatever", "{", "[1]", "x" * 600, "list[any] | x")),
    ],
)
def test_types_as_people_write_them_are_schemas(written: str, schema: dict[str, Any]) -> None:
    assert schema_of_type(written) == schema


def flat(*parameters: ToolParamDefinition, name: Any = "f") -> ToolDefinition:
    return ToolDefinition(tool_name=name, input=ToolParameters(parameters=parameters))


def parameter(name: str = "a", param_type: str = "int", **fields: Any) -> ToolParamDefinition:
    return ToolParamDefinition(name=name, param_type=param_type, **fields)


def whole(schema: Any, name: Any = "f") -> ToolDefinition:
    return ToolDefinition(
        tool_name=name,
        input=ToolInputSchema(input_schema_json=schema if isinstance(schema, str) else json.dumps(schema)),
    )


def test_flat_parameters_are_a_closed_schema_in_their_order() -> None:
    (tool,) = checked_tools([flat(parameter("b", description="Bees"), parameter("a", "str", required=False))], LARGE)
    assert json.dumps(tool.schema) == json.dumps(
        {
            "type": "object",
            "properties": {"b": {"type": "integer", "description": "Bees"}, "a": {"type": "string"}},
            "required": ["b"],
            "additionalProperties": False,
        }
    )


@pytest.mark.parametrize(("name", "argument"), [("brave_search", "query"), ("code_interpreter", "code")])
def test_built_in_tools_have_the_argument_that_models_know(name: str, argument: str) -> None:
    (tool,) = checked_tools([ToolDefinition(tool_name=BuiltinTool(name))], LARGE)
    assert (tool.builtin, tool.schema["properties"]) == (True, {argument: {"type": "string"}})


def test_a_tool_may_take_nothing() -> None:
    (tool,) = checked_tools([ToolDefinition(tool_name="f")], LARGE)
    assert (tool.schema["properties"], tool.schema["required"]) == ({}, [])


FINE = ToolDefinition(tool_name="fine")


@pytest.mark.parametrize(
    ("definition", "kind", "field"),
    [
        (ToolDefinition(tool_name="fine"), InvalidField, "tools[1].tool_name"),
        (whole("{"), InvalidConstraint, "tools[1].input_schema_json"),
        (whole("[]"), InvalidConstraint, "tools[1].input_schema_json"),
        (whole({"type": "string"}), InvalidField, "tools[1].input_schema_json"),
        (whole({}), InvalidField, "tools[1].input_schema_json"),
        (whole({"type": "object", "properties": 1}), InvalidConstraint, "tools[1].input_schema_json"),
        (whole({"type": "object", "not": {}}), InvalidConstraint, "tools[1].input_schema_json"),
        (whole({"type": "object", "title": "x" * LARGE}), InvalidConstraint, "tools[1].input_schema_json"),
        (whole({"type": "object"}, BuiltinTool.PHOTOGEN), InvalidField, "tools[1].input_schema_json"),
        (flat(parameter("query", "str"), name=BuiltinTool.PHOTOGEN), InvalidField, "tools[1].parameters"),
        (flat(parameter(), parameter()), InvalidField, "tools[1].parameters.parameters[1].name"),
        (flat(parameter(default_json="{")), InvalidField, "tools[1].parameters.parameters[0].default_json"),
        (flat(parameter(default_json="NaN")), InvalidField, "tools[1].parameters.parameters[0].default_json"),
        (flat(parameter(default_json='"\\ud800"')), InvalidField, "tools[1].parameters.parameters[0].default_json"),
        (flat(parameter(default_json="[" * 5000)), InvalidField, "tools[1].parameters.parameters[0].default_json"),
        (flat(parameter(param_type='{"not": {}}')), InvalidConstraint, "tools[1].parameters"),
        (flat(parameter(description="x" * LARGE)), InvalidConstraint, "tools[1].parameters"),
    ],
)
def test_what_is_wrong_with_a_tool_is_told_with_its_place(
    definition: ToolDefinition, kind: type[RequestError], field: str
) -> None:
    with pytest.raises(kind) as refused:
        checked_tools([FINE, definition], LARGE)
    assert [violation.field for violation in refused.value.violations] == [field]


def test_the_schemas_of_all_tools_together_are_bounded() -> None:
    definitions = [whole({"type": "object", "title": "x" * 400}, name) for name in "abc"]
    assert len(checked_tools(definitions, 1500)) == 3
    with pytest.raises(InvalidConstraint) as refused:
        checked_tools(definitions, 1000)
    assert [violation.field for violation in refused.value.violations] == ["tools[2].input_schema_json"]


JUDGE = CallJudge(checked_tools([flat(parameter()), ToolDefinition(tool_name=BuiltinTool.BRAVE_SEARCH)], LARGE))


@pytest.mark.parametrize(
    ("call", "ended_early", "verdict", "problem"),
    [
        (CallRead("raw", "f", '{"a": 1}'), False, "complete", None),
        (CallRead("raw", "f", '{"a": 1}'), True, "complete", None),
        (CallRead("raw", "f", '{"a": 1}', cut=True), False, "complete", None),
        (CallRead("raw", "f", '{"a": 1}', cut=True), True, "truncated", "ended before"),
        (CallRead("raw", "f", None, "Not finished.", cut=True), True, "truncated", "ended before"),
        (CallRead("raw", "f", None, "Not finished.", cut=True), False, "malformed", "Not finished."),
        (CallRead("raw", None, None, "Odd."), False, "malformed", "Odd."),
        (CallRead("raw", "g", "{}"), False, "unknown_tool", "no tool g"),
        (CallRead("raw", "f", "{}"), False, "schema_violation", "'a' is a required property"),
        (CallRead("raw", "f", '{"a": "1"}'), False, "schema_violation", "At $.a: '1' is not of type 'integer'"),
        (CallRead("raw", "f", '{"a": 1, "b": 2}'), False, "schema_violation", "'b' was unexpected"),
        (CallRead("raw", "f", '{"a":' + "[" * 100_000 + "]" * 100_000 + "}"), False, "schema_violation", "too deeply"),
    ],
)
def test_every_call_gets_its_verdict(call: CallRead, ended_early: bool, verdict: str, problem: str | None) -> None:
    judged = JUDGE.judge(call, "c1", ended_early)
    assert (judged.verdict, judged.call_id, judged.tool_name) == (verdict, "c1", call.name)
    assert judged.problem is None if problem is None else problem in (judged.problem or "")
    assert judged.raw_text == (None if verdict == "complete" else "raw")
    unreadable = judged.verdict in (ToolCallVerdict.TRUNCATED, ToolCallVerdict.MALFORMED)
    assert judged.arguments_json == ("" if unreadable else call.arguments_json)


def test_a_problem_is_told_in_few_words() -> None:
    judged = JUDGE.judge(CallRead("raw", "f", json.dumps({"a": "x" * 100_000})), "c1", False)
    assert 100 < len(judged.problem or "") < 500


def test_a_built_in_tool_is_named_as_such() -> None:
    assert (
        JUDGE.judge(CallRead("raw", "brave_search", '{"query": "x"}'), "", False).tool_name is BuiltinTool.BRAVE_SEARCH
    )


HERMES = NativeDialect("<tool_call>\n", "\n</tool_call>", "arguments")
MODEL = ModelDialects(HERMES, ToolPromptFormat.PYTHON_LIST)
TOOLS = checked_tools([flat(parameter()), ToolDefinition(tool_name="g")], LARGE)
SEARCH = checked_tools([ToolDefinition(tool_name=BuiltinTool.BRAVE_SEARCH)], LARGE)


def use(tools: tuple[Tool, ...] = TOOLS, **config: Any) -> ToolUse:
    return tool_use(tools, ToolConfig(**config), MODEL)


def test_by_default_the_model_chooses_in_its_own_dialect_and_may_call_several_times() -> None:
    assert tool_use(TOOLS, None, MODEL) == use()
    assert (use().choice, use().several, use().native, use().must_call) == (ToolChoice.AUTO, True, HERMES, False)
    assert not use(parallel_tool_calls=False).several


def test_built_in_tools_are_spoken_of_in_the_fallback() -> None:
    mixed = use((*TOOLS, *SEARCH))
    assert (mixed.native, mixed.format) == (None, ToolPromptFormat.PYTHON_LIST)
    assert isinstance(mixed.reader(), BuiltinReader)


def test_a_tool_that_may_not_be_called_is_neither_listed_nor_read() -> None:
    none = use(tool_choice=ToolChoice.NONE)
    assert (none.tools, none.reader(), none.constraint(), none.must_call) == ((), None, None, False)


@pytest.mark.parametrize("choice", [ToolChoice.REQUIRED, NamedToolChoice(tool_name="g")])
def test_a_call_may_be_demanded(choice: Any) -> None:
    assert use(tool_choice=choice).must_call


@pytest.mark.parametrize(
    ("tools", "choice", "field"),
    [
        ((), ToolChoice.REQUIRED, "tool_config.choice"),
        ((), NamedToolChoice(tool_name="g"), "tool_config.named_tool"),
        (TOOLS, NamedToolChoice(tool_name="h"), "tool_config.named_tool"),
    ],
)
def test_a_call_of_nothing_cannot_be_demanded(tools: tuple[Tool, ...], choice: Any, field: str) -> None:
    with pytest.raises(InvalidField) as refused:
        use(tools, tool_choice=choice)
    assert [violation.field for violation in refused.value.violations] == [field]


@pytest.mark.parametrize(
    "keyword", [{"minProperties": 1}, {"maxProperties": 1}, {"patternProperties": {"a": {}}}, {"propertyNames": {}}]
)
def test_schemas_that_keyword_arguments_cannot_follow_are_refused_in_that_dialect(keyword: dict[str, Any]) -> None:
    tools = (*TOOLS, Tool("h", "", {"type": "object", **keyword}))
    assert use(tools, tool_prompt_format="json").custom == list(tools)
    with pytest.raises(InvalidConstraint, match=next(iter(keyword))) as refused:
        use(tools, tool_prompt_format="python_list")
    assert [violation.field for violation in refused.value.violations] == ["tools[2].input_schema_json"]
