"""Texts that are no JSON, no schema, no grammar or no expression, or such that none was written for.

The decoder's library tries each new schema that the fixed limits let through, for some hundredths of a second, and the
verdicts are remembered: most of the texts that cost more than that are fixed ones.
"""

import json
import math
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct

from tests.fuzz.mutations import messages_in

STRING = {"type": "string"}
VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1.5,
    1e308,
    10**400,
    math.nan,
    math.inf,
    "",
    "\0",
    "\ud800",
    "\udfff\ud800",
    "x" * 1000,
    "object",
    [],
    {},
    [[[]]],
    [None, 1, "a"],
    {"$ref": "#"},
    {"$ref": "#/$defs/none"},
    {"$ref": "https://example.com/schema"},
    {"type": "nothing"},
    {"type": ["string", "null"]},
    {"type": "string", "format": "phone"},
    {"enum": []},
    {"enum": list(range(100))},
    {"const": {"a": [1, None]}},
    {"not": {}},
    {"anyOf": []},
    {"pattern": "(", "type": "string"},
    {"type": "string", "pattern": "^(?=a)b"},
    {"type": "string", "minLength": 5, "maxLength": 2},
    {"type": "integer", "minimum": 10**30},
    {"type": "array", "items": STRING, "minItems": -1},
    {"type": "object", "required": ["a"]},
)


def _nested(depth: int, before: str, behind: str) -> str:
    return before * depth + "1" + behind * depth


def _references(count: int) -> str:
    links = {f"d{i}": {"type": "array", "items": {"$ref": f"#/$defs/d{i + 1}"}} for i in range(count)}
    return json.dumps({"$defs": {**links, f"d{count}": STRING}, "$ref": "#/$defs/d0"})


JSON_TEXTS = (
    "",
    " ",
    "{",
    "nul",
    "NaN",
    "[Infinity]",
    "-",
    '"',
    "\ufeff{}",
    "{}{}",
    '{"a": 1}\0',
    "{'a': 1}",
    '{"a": 1,}',
    '{"a": 1, "a": 2}',
    '{"type": "object", "type": "string"}',
    "// none\n{}",
    "1" * 5000,
    "-1e99999",
    '{"a": 1e400}',
    '{"\\ud800": "\\udc00\\ud800"}',
    '{"a": "\\u00"}',
    '{"a": "\n"}',
    "true",
    "[]",
    "[1]",
    '"text"',
    _nested(50, '{"a":', "}"),
    _nested(150, "[", "]"),
    _nested(5000, "[", "]"),
    "[" * 20_000,
    '{"a":' * 20_000,
    _nested(40, '{"type": "array", "items":', "}"),
    _references(20),
    _references(300),
    '{"$ref": "#"}',
    '{"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}',
    '{"type": "object", "properties": {"a": {"$ref": "#"}}}',
    '{"allOf": [{"$ref": "#"}]}',
    '{"$ref": "#/$defs/a~1b"}',
    '{"$dynamicRef": "#a"}',
    '{"$schema": 5, "type": "string"}',
    '{"$id": "::", "type": "string"}',
    '{"$schema": "http://json-schema.org/draft-04/schema#", "type": "any"}',
    json.dumps({"enum": list(range(3000))}),
    json.dumps({"enum": ["\ud800", "a"]}),
    json.dumps({"type": "object", "properties": {f"p{i}": STRING for i in range(300)}}),
    json.dumps({"anyOf": [STRING] * 300}),
    json.dumps({f"x{i}": {} for i in range(2000)}),
    '{"type": "string", "maxLength": 1e400}',
    '{"type": "string", "maxLength": 100000000000000000000000}',
    '{"type": "string", "minLength": 1.5}',
    '{"type": "array", "items": {"type": "string"}, "minItems": 100000}',
    '{"type": "integer", "minimum": -1e308, "maximum": 1e308}',
    '{"type": "number", "minimum": NaN}',
    '{"type": "string", "pattern": "^(a+)+$"}',
    '{"type": "string", "pattern": "(((a{1,9}){1,9}){1,9}){1,9}"}',
    '{"type": "string", "pattern": "\\\\p{Nothing}[z-a]"}',
    '{"type": "object", "patternProperties": {"(": {}}}',
    '{"type": "object", "properties": {"": {"type": "null"}, "\\u0000": {}}}',
    '{"type": "object", "properties": {"<|im_end|>": {"const": "<|im_start|>"}}, "additionalProperties": false}',
)
REGEXES = (
    "(",
    ")",
    "[",
    "[z-a]",
    "*",
    "a{2,1}",
    "a{99999999999}",
    "\\",
    "\\1(a)",
    "(?=a)b",
    "(?P<n>a)(?P=n)",
    "(?<!a)b",
    "\\p{Nothing}",
    "\\ud800",
    "\\x",
    "(?i)a",
    "^(a+)+$",
    "(\\w+\\s?)+",
    "((a{1,1000}){1,1000}){1,1000}",
    "(" * 500 + "a" + ")" * 500,
    "[a-z]?" * 500,
    "|" * 500,
    "\0",
    "$^",
    "[^\\s\\S]",
    "a" * 20_000,
)
GRAMMARS = (
    "",
    "root",
    "root ::=",
    'root ::= "',
    "root ::= root",
    "root ::= root root | [a-z]",
    "root ::= missing",
    'start ::= "a"',
    'root ::= "a"\nroot ::= "b"',
    "root ::= [z-a]",
    "root ::= [",
    "root ::= (" * 300,
    'root ::= "\\ud800" "\\x"',
    'root ::= "a"{99999999}',
    'root ::= "a"* | "a"+ | ("a"*)*',
    "root ::= [^\0-\U0010ffff]",
    'root ::= "" | (root | "")',
    "\n".join(["root ::= r0", *(f"r{i} ::= r{i + 1} r{i + 1}" for i in range(25)), 'r25 ::= "a" | ""']),
    "# nothing",
    "\0",
    "%declare X\nstart: X",
    "root ::= TagDispatch()",
    'root ::= TagDispatch(("a", root), stop_eos=maybe, stop_str=("x"))',
    "root ::= \ufeff'a'",
)
RULES = (
    {"": ""},
    {"root": ""},
    {"a b": '"c"'},
    {"root": "b", "b": "root"},
    {"root ::= x\nx": '"a"'},
    {"\0": "\0"},
    {f"r{i}": f"r{i + 1} r{i + 1}" for i in range(100)},
)


def mutate_texts(message: Message, chance: Random) -> bytes:
    """The message, with one of the texts in it changed that hold a language of their own."""
    made = type(message)()
    made.CopyFrom(message)
    changes = list(_changes(made))
    if changes:
        chance.choice(changes)(chance)
    return made.SerializeToString()


def _changes(message: Message) -> Iterator[Callable[[Random], None]]:
    for inner in messages_in(message):
        for field, value in inner.ListFields():
            match field.name:
                case "json_schema" | "input_schema_json" | "arguments_json" | "default_json" if isinstance(value, str):
                    yield lambda chance, at=inner, name=field.name: setattr(at, name, _json(getattr(at, name), chance))
                case "pattern":
                    yield lambda chance, at=inner: setattr(at, "pattern", _text(at.pattern, REGEXES, chance))
                case "ebnf":
                    yield lambda chance, at=inner: setattr(at, "ebnf", _text(at.ebnf, GRAMMARS, chance))
                case "rules":
                    yield lambda chance, at=inner: _set_rules(at.rules, chance)
                case "metadata" if isinstance(value, Struct):
                    yield lambda chance, at=inner: _set_struct(at.metadata, chance)


def _json(text: str, chance: Random) -> str:
    if chance.random() < 0.5:
        return chance.choice(JSON_TEXTS)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return chance.choice(JSON_TEXTS)
    written = json.dumps(_replaced(value, chance), ensure_ascii=True)
    match chance.randrange(8):
        case 0:
            return written.replace(":", ": 1, " + chance.choice(('"type"', '"a"', '""')) + ":", 1)
        case 1:
            return written + chance.choice((",", "}", "\0", " {}", "\ud7ff"))
        case 2:
            return written[: chance.randrange(len(written) + 1)]
        case _:
            return written


def _replaced(value: Any, chance: Random) -> Any:
    """The value with something else somewhere in it."""
    if not value or not isinstance(value, dict | list) or chance.random() < 0.15:
        return chance.choice(VALUES)
    made = value.copy()
    place = chance.choice(list(made) if isinstance(made, dict) else range(len(made)))
    if isinstance(made, dict) and chance.random() < 0.1:
        made[chance.choice(("not", "unknown", "", "type", "$ref", "enum", "items", "\ud800"))] = chance.choice(VALUES)
    else:
        made[place] = _replaced(made[place], chance)
    return made


def _text(text: str, fixed: tuple[str, ...], chance: Random) -> str:
    """Another one, or this one with characters changed."""
    if chance.random() < 0.6:
        return chance.choice(fixed)
    place = chance.randint(0, len(text))
    return text[:place] + chance.choice('()[]{}|*+?\\"^$-,0aé\n\0') * chance.choice((1, 2, 50)) + text[place + 1 :]


def _set_rules(rules: Any, chance: Random) -> None:
    if chance.random() < 0.5:
        rules.clear()
        rules.update(chance.choice(RULES))
    else:
        name = chance.choice(list(rules) or ["root"])
        rules[name] = _text(rules[name], GRAMMARS, chance)


def _set_struct(struct: Struct, chance: Random) -> None:
    """Numbers that JSON doesn't have, values that are none, and depths that protobuf's reader just takes or refuses."""
    match chance.randrange(4):
        case 0:
            struct.fields["a"].number_value = chance.choice((math.nan, math.inf, -0.0, 1e308, 5e-324, 2.0**63))
        case 1:
            struct.fields["a"].list_value.values.add()
        case 2:
            value = struct.fields["a"]
            for _ in range(chance.choice((10, 20, 30, 31, 32, 33, 34, 45, 49))):
                value = value.struct_value.fields["a"]
            value.bool_value = True
        case _:
            value = struct.fields["a"]
            for _ in range(chance.choice((10, 40, 47, 48, 49, 50, 60))):
                value = value.list_value.values.add()
            value.null_value = 0
