"""The grammar of lists of Python calls, from the tools' JSON Schemas.

The library makes grammars of JSON from schemas; here the values become Python literals (`True`, `None`), and the
properties of the outermost object become keyword arguments.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import regex

from service.tool_formats.json_grammar import json_rules, with_symbols
from service.tool_formats.tools import Tool

SHARED = "basic_"
PYTHON_LITERALS = {'"true"': '"True"', '"false"': '"False"', '"null"': '"None"'}
# JSON's escapes without those that Python reads in another way: `\/` and halves of surrogate pairs.
ESCAPE_RULE = "basic_escape"
ESCAPES = (
    r'([\"\\bfnrt]) | ("u" [0-9A-Ca-cE-Fe-f] [0-9A-Fa-f] [0-9A-Fa-f] [0-9A-Fa-f])'
    r' | ("u" [Dd] [0-7] [0-9A-Fa-f] [0-9A-Fa-f])'
)
# Strings of limited length may hold what no line of Python can.
NEGATED = r"[^\0\n\r"
# Keywords behind which there are values of the caller's, or names of his.
VALUES = frozenset({"const", "enum", "default", "examples"})
SCHEMAS_BY_NAME = frozenset({"properties", "patternProperties", "$defs", "definitions"})
# What keyword arguments can't be made of, or held to.
UNWRITABLE = (
    *("$ref", "anyOf", "oneOf", "allOf", "enum", "const"),
    *("patternProperties", "propertyNames", "minProperties", "maxProperties"),
)
ROOT = "#/$defs/root"


PLAIN_NAME = regex.compile(r"[^\W\d][\w.-]*")


class UnwritableSchema(ValueError):
    """The arguments can't be written as keyword arguments; the message says why."""


def list_of_calls(tools: Sequence[Tool], several: bool) -> str:
    """EBNF of a list with at least one call."""
    grammar = _Grammar(tools, several)
    return grammar.text('"[" any_call more')


def text_with_lists_of_calls(tools: Sequence[Tool], several: bool) -> str:
    """EBNF of free text, in which `[name(` of a tool begins a list of calls."""
    grammar = _Grammar(tools, several)
    triggers = ", ".join(f"({json.dumps(f'[{tool.name}(')}, rest_{i})" for i, tool in enumerate(tools))
    return grammar.text(f"TagDispatch({triggers}, loop_after_dispatch={'true' if several else 'false'})")


class _Grammar:
    """The rules of calls of some tools."""

    def __init__(self, tools: Sequence[Tool], several: bool) -> None:
        self._rules: dict[str, str] = {}
        for index, tool in enumerate(tools):
            self._add_arguments(f"arguments_{index}", tool)
            self._rules[f"rest_{index}"] = f'arguments_{index} ")" more'
            self._rules[f"call_{index}"] = f'{json.dumps(f"{tool.name}(")} arguments_{index} ")"'
        self._rules["any_call"] = " | ".join(f"call_{index}" for index in range(len(tools)))
        self._rules["more"] = '(", " any_call)* "]"' if several else '"]"'

    def text(self, root: str) -> str:
        return "\n".join(f"{name} ::= {body}" for name, body in ({"root": root} | self._rules).items())

    def _add_arguments(self, rule: str, tool: Tool) -> None:
        """In the order of the schema. `head` rules come while nothing is written yet, `tail` rules behind a comma."""
        properties = _properties(tool)
        required = tool.schema.get("required", ())
        last = len(properties)
        self._rules[f"{rule}_head_{last}"] = self._rules[f"{rule}_tail_{last}"] = '""'
        for index, (name, schema) in enumerate(properties.items()):
            self._add_value(f"{rule}_value_{index}", schema)
            written = f"{json.dumps(written_name(name) + '=', ensure_ascii=False)} {rule}_value_{index}"
            then = f"{written} {rule}_tail_{index + 1}"
            skip = "" if name in required else f" | {rule}_{{}}_{index + 1}"
            self._rules[f"{rule}_head_{index}"] = f"({then}){skip.format('head')}"
            self._rules[f"{rule}_tail_{index}"] = f'(", " {then}){skip.format("tail")}'
        self._rules[rule] = f"{rule}_head_0"

    def _add_value(self, rule: str, schema: Mapping[str, Any]) -> None:
        # Without what is to follow in JSON: here it may be a parenthesis.
        bodies = {name: body for name, body, _ in json_rules(schema)}
        names = {name: name if name.startswith(SHARED) else f"{rule}_{name}" for name in bodies}
        for name, body in bodies.items():
            self._rules[names[name]] = ESCAPES if name == ESCAPE_RULE else _as_python(body, names)
        self._rules[rule] = names["root"]


def _as_python(body: str, names: Mapping[str, str]) -> str:
    def replaced(symbol: str) -> str:
        if symbol.startswith("[^"):
            return NEGATED + symbol[2:]
        return PYTHON_LITERALS.get(symbol) or names.get(symbol, symbol)

    return with_symbols(body, replaced)


def written_name(name: str) -> str:
    """The name of an argument; one that isn't a plain word stands in quotes."""
    return name if PLAIN_NAME.fullmatch(name) else json.dumps(name, ensure_ascii=False)


def check_arguments(tool: Tool) -> None:
    """Raises UnwritableSchema."""
    for keyword in UNWRITABLE:
        if keyword in tool.schema:
            raise UnwritableSchema(f"keyword arguments can't be made of a schema with `{keyword}` at its top.")


def _properties(tool: Tool) -> dict[str, Any]:
    """The schema of each argument, complete in itself."""
    check_arguments(tool)
    properties: dict[str, Any] = tool.schema.get("properties", {})
    if '"$ref"' not in json.dumps(properties):
        return properties
    root = _under_root(tool.schema)
    return {name: _with_definitions(schema, root) for name, schema in root["properties"].items()}


def _with_definitions(schema: Any, root: Any) -> Any:
    return schema if isinstance(schema, bool) else schema | {"$defs": {"root": root}}


def _under_root(node: Any) -> Any:
    """The same schema for another place: its references are to lead to where it will be."""
    match node:
        case dict():
            return {key: _keyword_under_root(key, value) for key, value in node.items()}
        case list():
            return [_under_root(item) for item in node]
        case _:
            return node


def _keyword_under_root(keyword: str, value: Any) -> Any:
    if keyword == "$ref":
        return ROOT + value[1:]
    if keyword in VALUES:
        return value
    if keyword in SCHEMAS_BY_NAME:
        return {name: _under_root(schema) for name, schema in value.items()}
    return _under_root(value)
