"""Grammars, readers and verdicts agree: what the decoder is held to is read, and found to fit."""

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.api.tools import (
    BuiltinTool,
    NamedToolChoice,
    SystemMessageBehavior,
    ToolCall,
    ToolCallVerdict,
    ToolChoice,
    ToolDefinition,
    ToolParamDefinition,
    ToolPromptFormat,
)
from service.inference.reading import AnswerReader
from service.tool_formats import function_tag, json_object, python_list
from service.tool_formats.native import NativeDialect
from service.tool_formats.tools import Tool, schema_of_parameters, tool_of
from service.tool_formats.use import ToolUse
from tests.tool_formats.held_to import Decoder
from tests.tool_formats.random_tools import Example, tools


@dataclass(frozen=True)
class Spoken:
    """A dialect, and how calls are written in it."""

    name: str
    format: ToolPromptFormat
    native: NativeDialect | None
    write: Callable[[Sequence[ToolCall]], str]

    def __str__(self) -> str:
        return self.name

    def use(self, listed: Sequence[Tool], several: bool = True) -> ToolUse:
        return ToolUse(
            tuple(listed), ToolChoice.REQUIRED, several, self.native, self.format, SystemMessageBehavior.APPEND
        )


COMPLETE = ToolCallVerdict.COMPLETE
HERMES = NativeDialect("<tool_call>\n", "\n</tool_call>", "arguments")
LLAMA = NativeDialect("", "", "parameters")


def as_hermes(calls: Sequence[ToolCall]) -> str:
    return "\n".join(
        f'<tool_call>\n{{"name": {json.dumps(call.tool_name)}, "arguments": {call.arguments_json}}}\n</tool_call>'
        for call in calls
    )


def as_llama(calls: Sequence[ToolCall]) -> str:
    return "".join(f'{{"name": {json.dumps(call.tool_name)}, "parameters": {call.arguments_json}}}' for call in calls)


DIALECTS = [
    Spoken("json", ToolPromptFormat.JSON, None, json_object.write),
    Spoken("function_tag", ToolPromptFormat.FUNCTION_TAG, None, function_tag.write),
    Spoken("python_list", ToolPromptFormat.PYTHON_LIST, None, python_list.write),
    Spoken("hermes", ToolPromptFormat.JSON, HERMES, as_hermes),
    Spoken("llama", ToolPromptFormat.JSON, LLAMA, as_llama),
]
few = settings(deadline=None, max_examples=12)
every_dialect = pytest.mark.parametrize("dialect", DIALECTS, ids=str)


def answer_read(use: ToolUse, answer: str) -> AnswerReader:
    reader = AnswerReader(use)
    reader.take(answer)
    reader.close(ended_early=False)
    return reader


def called(example: Example, arguments: Any) -> ToolCall:
    return ToolCall(call_id="", tool_name=example.tool.name, arguments_json=json.dumps(arguments, ensure_ascii=False))


@every_dialect
@few
@given(examples=tools(), several=st.booleans(), seed=st.integers(0, 2**32))
def test_whatever_the_decoder_is_held_to_is_complete_calls(
    dialect: Spoken, examples: list[Example], several: bool, seed: int
) -> None:
    use = dialect.use([example.tool for example in examples], several)
    wanted = use.constraint()
    assert wanted
    decoder = Decoder(wanted)
    for attempt in range(4):
        answer = decoder.write(random.Random(seed + attempt))
        read = answer_read(use, answer)
        assert [(call.verdict, call.problem) for call in read.calls if call.verdict is not COMPLETE] == [], answer
        assert len(read.calls) >= 1 if several else len(read.calls) == 1
        assert read.text == ""


@every_dialect
@few
@given(examples=tools(), data=st.data())
def test_arguments_that_fit_can_be_written(dialect: Spoken, examples: list[Example], data: st.DataObject) -> None:
    use = dialect.use([example.tool for example in examples])
    wanted = use.constraint()
    assert wanted
    chosen = data.draw(st.lists(st.sampled_from(examples), min_size=1, max_size=2))
    calls = [called(example, data.draw(example.arguments)) for example in chosen]
    answer = dialect.write(calls)
    assert Decoder(wanted).accepts(answer), answer
    read = answer_read(use, answer)
    assert [(call.tool_name, json.loads(call.arguments_json)) for call in read.calls] == [
        (call.tool_name, json.loads(call.arguments_json)) for call in calls
    ]
    assert Decoder(use.dialect.once_begun(use.custom, True)).accepts(f"Well: {answer}")


NUMBERED = Tool("f", "", schema_of_parameters((ToolParamDefinition(name="n", param_type="int"),)))
UNLISTED = ToolCall(call_id="", tool_name="g", arguments_json='{"n": 1}')
MISFITS = ['{"n": "1"}', "{}", '{"n": 1.5}', '{"n": 1, "m": 2}', '{"m": 1}', '{"n": null}']


@every_dialect
@pytest.mark.parametrize("arguments", MISFITS)
def test_arguments_that_do_not_fit_cannot_be_written(dialect: Spoken, arguments: str) -> None:
    decoder = Decoder(dialect.use([NUMBERED]).dialect.enforced([NUMBERED], True))
    assert decoder.accepts(dialect.write([UNLISTED.model_copy(update={"tool_name": "f"})]))
    assert not decoder.accepts(
        dialect.write([UNLISTED.model_copy(update={"tool_name": "f", "arguments_json": arguments})])
    )


@every_dialect
def test_tools_that_are_not_listed_cannot_be_called(dialect: Spoken) -> None:
    assert not Decoder(dialect.use([NUMBERED]).dialect.enforced([NUMBERED], True)).accepts(dialect.write([UNLISTED]))


@every_dialect
def test_an_answer_that_must_be_a_call_is_nothing_else(dialect: Spoken) -> None:
    call = dialect.write([UNLISTED.model_copy(update={"tool_name": "f"})])
    decoder = Decoder(dialect.use([NUMBERED]).dialect.enforced([NUMBERED], True))
    assert [text for text in ("", "Well.", f"Well: {call}", f"{call} So.", call[:-1]) if decoder.accepts(text)] == []


@every_dialect
def test_one_call_at_a_time_is_one(dialect: Spoken) -> None:
    call = UNLISTED.model_copy(update={"tool_name": "f"})
    decoder = Decoder(dialect.use([NUMBERED]).dialect.enforced([NUMBERED], False))
    assert decoder.accepts(dialect.write([call]))
    assert not decoder.accepts(dialect.write([call, call]))


@every_dialect
def test_what_begins_like_a_call_has_to_become_one(dialect: Spoken) -> None:
    decoder = Decoder(dialect.use([NUMBERED]).dialect.once_begun([NUMBERED], True))
    call = dialect.write([UNLISTED.model_copy(update={"tool_name": "f"})])
    misfit = dialect.write([UNLISTED.model_copy(update={"tool_name": "f", "arguments_json": '{"n": "1"}'})])
    assert [decoder.accepts(text) for text in ("", "No.", call, f"So: {call}", misfit)] == [
        True,
        True,
        True,
        True,
        False,
    ]


SCHEMAS_OF_ONE_ARGUMENT: list[Any] = [
    {"enum": ["a (=(b))", "b"]},
    {"enum": [True, "true", None, [None], {"a": False}]},
    {"const": {"$ref": "#/x"}},
    {"type": "string", "maxLength": 4},
    {"type": "string", "format": "date-time"},
    {"type": "string", "pattern": "[a-f]{1,3}é"},
    {"type": "number", "minimum": 0.5, "maximum": 3},
    {"type": ["string", "null"]},
    {"type": "array", "prefixItems": [{"type": "boolean"}], "items": False},
    {"type": "object", "properties": {"größe": {"type": "null"}}, "required": ["größe"]},
    {"type": "object", "properties": {"$ref": {"type": "null"}, "const": {"$ref": "#/$defs/tree"}}},
    {"$ref": "#/$defs/tree"},
    {"$ref": "#/properties/number"},
    {"type": "object", "properties": {"\x80": {"type": "null"}, "\x800": {"type": "null"}}, "required": ["\x800"]},
    {},
    True,
]
TREE = {
    "type": "object",
    "properties": {"left": {"$ref": "#/$defs/tree"}, "leaf": {"type": "boolean"}},
    "additionalProperties": False,
}


@every_dialect
@pytest.mark.parametrize("schema", SCHEMAS_OF_ONE_ARGUMENT, ids=str)
def test_schemas_of_every_kind_are_held_to(dialect: Spoken, schema: Any) -> None:
    properties = {"a": schema, "tree": {"$ref": "#/$defs/tree"}, "number": {"type": "number"}}
    tool = Tool("f", "", {"type": "object", "properties": properties, "required": ["a"], "$defs": {"tree": TREE}})
    use = dialect.use([tool], several=False)
    decoder = Decoder(use.dialect.enforced([tool], False))
    for seed in range(4):
        answer = decoder.write(random.Random(seed), patience=150)
        assert [(call.verdict, call.problem) for call in answer_read(use, answer).calls] == [(COMPLETE, None)], answer


@pytest.mark.parametrize("seed", range(5))
def test_built_in_tools_are_held_to_their_own_calls(seed: int) -> None:
    builtin = [tool_of(ToolDefinition(tool_name=name)) for name in BuiltinTool]
    use = DIALECTS[0].use([*builtin, NUMBERED])
    wanted = use.constraint()
    assert wanted
    answer = Decoder(wanted).write(random.Random(seed), patience=80)
    read = answer_read(use, answer)
    assert read.calls
    assert [call.problem for call in read.calls if call.verdict is not COMPLETE] == [], answer


def test_a_named_tool_is_called_once_and_no_other() -> None:
    other = Tool("g", "", NUMBERED.schema)
    use = replace(DIALECTS[0].use([NUMBERED, other]), choice=NamedToolChoice(tool_name="g"))
    wanted = use.constraint()
    assert wanted
    decoder, call = Decoder(wanted), json_object.write([UNLISTED])
    assert decoder.accepts(call)
    assert not decoder.accepts(call + call)
    assert not decoder.accepts(call.replace('"g"', '"f"'))


def test_a_text_format_leaves_the_choice_between_calls_and_that_format() -> None:
    use = replace(DIALECTS[0].use([NUMBERED]), choice=ToolChoice.AUTO)
    wanted = use.constraint({"type": "regex", "pattern": "[0-9]+"})
    assert wanted
    decoder = Decoder(wanted)
    call = json_object.write([UNLISTED.model_copy(update={"tool_name": "f"})])
    assert [decoder.accepts(text) for text in ("42", call, "No.", f"42{call}")] == [True, True, False, False]
