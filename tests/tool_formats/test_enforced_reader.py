"""Answers that must call, cut wherever a budget may end."""

import pytest

from service.api.tools import ToolCallVerdict, ToolChoice, ToolConfig, ToolDefinition, ToolPromptFormat
from service.decoding.tools import checked_tools
from service.inference.reading import AnswerReader
from service.tool_formats.use import ModelDialects, ToolUse, tool_use

ANSWERS = {
    ToolPromptFormat.JSON: '{"type": "function", "name": "f", "parameters": {}}',
    ToolPromptFormat.FUNCTION_TAG: "<function=f>{}</function>",
    ToolPromptFormat.PYTHON_LIST: "[f()]",
}
every_format = pytest.mark.parametrize("dialect", ToolPromptFormat)


def use_of(dialect: ToolPromptFormat, choice: ToolChoice = ToolChoice.REQUIRED) -> ToolUse:
    tools = checked_tools([ToolDefinition(tool_name="f")], 1000)
    config = ToolConfig(tool_choice=choice, tool_prompt_format=dialect)
    return tool_use(tools, config, ModelDialects(None, dialect))


def read(use: ToolUse, text: str) -> AnswerReader:
    reader = AnswerReader(use)
    for char in text:
        reader.take(char)
    reader.close(ended_early=True)
    return reader


@every_format
def test_an_answer_cut_anywhere_is_a_truncated_call(dialect: ToolPromptFormat) -> None:
    whole = ANSWERS[dialect]
    for end in range(1, len(whole)):
        found = read(use_of(dialect), whole[:end])
        assert found.text == ""
        if found.calls[0].verdict is not ToolCallVerdict.COMPLETE:  # what closes a list or a tag may be missing
            (call,) = found.calls
            assert (call.verdict, call.arguments_json) == (ToolCallVerdict.TRUNCATED, "")
            assert whole[:end].endswith(call.raw_text or "nothing")


@every_format
def test_a_second_call_cut_anywhere_never_becomes_text(dialect: ToolPromptFormat) -> None:
    whole = ANSWERS[dialect]
    second = ", f()]" if dialect is ToolPromptFormat.PYTHON_LIST else whole
    first = whole.removesuffix("]") if dialect is ToolPromptFormat.PYTHON_LIST else whole
    for end in range(len(second)):
        found = read(use_of(dialect), first + second[:end])
        assert found.text == ""
        assert found.calls[0].verdict is ToolCallVerdict.COMPLETE
        assert len(found.calls) <= 2


@every_format
def test_an_answer_that_may_be_text_stays_text(dialect: ToolPromptFormat) -> None:
    found = read(use_of(dialect, ToolChoice.AUTO), ANSWERS[dialect][:2])
    assert (found.text, found.calls) == (ANSWERS[dialect][:2], [])


@every_format
def test_text_of_an_engine_that_enforces_nothing_stays_text(dialect: ToolPromptFormat) -> None:
    text = "I can't. " + ANSWERS[dialect][:1]
    found = read(use_of(dialect), text)
    assert (found.text, found.calls) == (text, [])
