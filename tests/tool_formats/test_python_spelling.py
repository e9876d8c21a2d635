"""What the grammar of Python calls spells, the reader reads as the same values."""

import json
from typing import Any

import pytest

from service.api.tools import ToolDefinition, ToolInputSchema
from service.decoding.grammars import GrammarKind, accepts
from service.decoding.tools import checked_tools
from service.tool_formats.python_grammar import list_of_calls


def grammar_of(**properties: Any) -> str:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    tool = ToolDefinition(tool_name="f", input=ToolInputSchema(input_schema_json=json.dumps(schema)))
    return list_of_calls(checked_tools([tool], 1000), True)


@pytest.mark.parametrize("text", ["größer", "ße", "éa0", "色e", "🦊e", "a\\xdfe", 'say "hi"'])
def test_a_letter_beyond_ascii_is_no_part_of_what_follows(text: str) -> None:
    assert accepts(GrammarKind.EBNF, grammar_of(a={"enum": [text]}), f"[f(a={json.dumps(text, ensure_ascii=False)})]")


def test_a_pattern_keeps_its_letters() -> None:
    grammar = grammar_of(a={"type": "string", "pattern": "^ße[äöü]e$"})
    assert accepts(GrammarKind.EBNF, grammar, '[f(a="ßeöe")]')
    assert not accepts(GrammarKind.EBNF, grammar, '[f(a="ßeoe")]')


@pytest.mark.parametrize(("number", "fits"), [("1e9", True), ("-2.5E-12", True), ("1e999", False), ("1E+400", False)])
def test_no_number_is_infinite(number: str, fits: bool) -> None:
    assert accepts(GrammarKind.EBNF, grammar_of(a={"type": "number"}), f"[f(a={number})]") is fits
