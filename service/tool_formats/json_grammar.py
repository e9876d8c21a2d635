"""Grammars of JSON from JSON Schemas: what the library makes of them, as text that it reads back the same."""

import json
from collections.abc import Callable
from typing import Any

import regex
import xgrammar

# What printed grammars consist of. A caller's expression (`Regex("...")`) is left alone.
TERMINAL = r"""Regex\("(?:[^"\\]|\\.)*"|"(?:[^"\\]|\\.)*"|\[(?:[^\]\\]|\\.)*\]"""
SYMBOL = regex.compile(rf"{TERMINAL}|[A-Za-z_]\w*")
# A name, what it stands for, and what has to follow it: ` (=(...))`.
RULE = regex.compile(rf"""^(\w+) ::= ((?:{TERMINAL}|[^"\[\n])*?)( \(=\(.*\)\))?$""", regex.MULTILINE)
# Printed with two digits, but read with as many as follow.
HEXADECIMAL = regex.compile(r"\\(?:x([0-9a-f]{2})|.)")
# Of numbers, also those that a reference leads to. With more digits they are infinite to most readers of JSON.
EXPONENT = regex.compile(r"(\[eE\] (\w+)_4 \2_digits)\{1, -1\}")


def json_grammar(schema: Any) -> str:
    """EBNF of the JSON that fits a schema, without free whitespace: small models would write it until the end."""
    return "\n".join(f"{name} ::= {body}{following}" for name, body, following in json_rules(schema))


def json_rules(schema: Any) -> list[tuple[str, str, str]]:
    """The rules: the name, what it stands for, and what has to follow."""
    printed = str(xgrammar.Grammar.from_json_schema(json.dumps(schema), any_whitespace=False))
    return [(name, _readable(body), following) for name, body, following in RULE.findall(printed)]


def with_symbols(body: str, replaced: Callable[[str], str]) -> str:
    """The right-hand side of a rule with each of its terminals and names replaced."""
    return str(SYMBOL.sub(lambda symbol: replaced(symbol.group()), body))


def _readable(body: str) -> str:
    return with_symbols(EXPONENT.sub(r"\1{1,2}", body), _readable_symbol)


def _readable_symbol(symbol: str) -> str:
    return str(HEXADECIMAL.sub(_with_four_digits, symbol)) if symbol[0] in '"[' else symbol


def _with_four_digits(escape: Any) -> str:
    return f"\\u00{escape[1]}" if escape[1] else str(escape.group())
