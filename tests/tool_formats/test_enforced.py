"""Grammars, readers and verdicts agree: what the decoder is held to is read, and found to fit."""

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.api.tools import SystemMessageBehavior, ToolCall, ToolCallVerdict, ToolChoice, ToolPromptFormat
from service.inference.reading import AnswerReader
from service.tool_formats import function_tag, json_object, python_list
from service.tool_formats.native import NativeDialect
from service.tool_formats.tools import Tool
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
every_dialect = pytest.mark.parametrize("dialect", DIALECTS, ids=str)


def answer_read(use: ToolUse, answer: str) -> AnswerReader:
    reader = AnswerReader(use)
    reader.take(answer)
    reader.close(ended_early=False)
    return reader


def called(example: Example, arguments: Any) -> ToolCall:
    return ToolCall(
        call_id="", tool_name=example.tool.name, arguments_json=json.dumps(arguments, ensure_ascii=False)
    )


@every_dialect
@settings(deadline=None, max_examples=int(__import__("os").environ.get("MAXE", "25")))
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
        assert [(call.verdict, call.problem) for call in read.calls] == [(ToolCallVerdict.COMPLETE, None)] * len(read.calls), answer
        assert read.calls, answer
        assert several or len(read.calls) == 1
        assert read.text == ""


@every_dialect
@settings(deadline=None, max_examples=int(__import__("os").environ.get("MAXE", "25")))
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
