"""How the decoder is held to calls: the formats of xgrammar's structural tags, which its documentation describes."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from service.tool_formats.json_grammar import json_grammar
from service.tool_formats.tools import Tool

Format: TypeAlias = dict[str, Any]
"""A format of a structural tag, as JSON."""


def structural_tag(content: Format) -> Format:
    return {"type": "structural_tag", "format": content}


def arguments_format(tool: Tool) -> Format:
    return json_format(tool.schema)


def json_format(schema: Any) -> Format:
    """As a grammar, because a schema inside of a structural tag can't do without free whitespace."""
    return {"type": "grammar", "grammar": json_grammar(schema)}


def tag(begin: str, content: Format, end: str) -> Format:
    return {"type": "tag", "begin": begin, "content": content, "end": end}


def tags(choices: Sequence[Format], separator: str, several: bool) -> Format:
    """One of the tags, or several with the separator between them; no text before, between or after."""
    return {
        "type": "tags_with_separator",
        "tags": list(choices),
        "separator": separator,
        "at_least_one": True,
        "stop_after_first": not several,
    }


def dispatch(calls: Mapping[str, Sequence[Format | str]], several: bool) -> Format:
    """Free text, up to one of the keys; from there on the format behind it, a string standing for itself.

    Unless `several`, the answer ends with the first.
    """
    rules = [[trigger, sequence(elements)] for trigger, elements in calls.items()]
    return {"type": "dispatch", "rules": rules, "loop": several}


def sequence(elements: Sequence[Format | str]) -> Format:
    return {"type": "sequence", "elements": [constant(e) if isinstance(e, str) else e for e in elements]}


def one_of(elements: Sequence[Format]) -> Format:
    return elements[0] if len(elements) == 1 else {"type": "or", "elements": list(elements)}


def constant(text: str) -> Format:
    return {"type": "const_string", "value": text}
