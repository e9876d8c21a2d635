"""From the type of a flat parameter, as people write it, to JSON Schema."""

import json
from typing import Any

import regex

SCALARS = {
    "str": "string",
    "string": "string",
    "text": "string",
    "int": "integer",
    "integer": "integer",
    "long": "integer",
    "float": "number",
    "double": "number",
    "number": "number",
    "bool": "boolean",
    "boolean": "boolean",
    "none": "null",
    "null": "null",
}
ARRAYS = frozenset({"list", "array", "tuple", "set", "sequence"})
OBJECTS = frozenset({"dict", "object", "map", "mapping"})
GENERIC = regex.compile(r"(\w+)\s*[\[<](.*)[\]>]", regex.DOTALL)
MAX_LENGTH = 512


def schema_of_type(param_type: str) -> dict[str, Any]:
    """The schema of `str`, `list[int]`, `dict[str, float]`, `Optional[bool]`, `int | null` and the like.

    JSON text of a schema stands for itself. What can't be read constrains nothing: the schema is empty.
    """
    text = param_type.strip()
    if len(text) > MAX_LENGTH:
        return {}
    if text.startswith("{"):
        return _schema_text(text)
    alternatives = _split(text, "|")
    if len(alternatives) > 1:
        return _any_of([schema_of_type(alternative) for alternative in alternatives])
    if found := GENERIC.fullmatch(text.removeprefix("typing.")):
        return _generic(found[1].lower(), _split(found[2], ","))
    return _plain(text.lower())


def _schema_text(text: str) -> dict[str, Any]:
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return schema if isinstance(schema, dict) else {}


def _plain(name: str) -> dict[str, Any]:
    if name in SCALARS:
        return {"type": SCALARS[name]}
    if name in ARRAYS:
        return {"type": "array"}
    return {"type": "object"} if name in OBJECTS else {}


def _generic(name: str, arguments: list[str]) -> dict[str, Any]:
    if name in ARRAYS:
        return {"type": "array", "items": schema_of_type(arguments[0])}
    if name in OBJECTS:
        return {"type": "object", "additionalProperties": schema_of_type(arguments[-1])}
    if name == "optional":
        return _any_of([schema_of_type(arguments[0]), {"type": "null"}])
    if name == "union":
        return _any_of([schema_of_type(argument) for argument in arguments])
    return {}


def _any_of(schemas: list[dict[str, Any]]) -> dict[str, Any]:
    return {"anyOf": schemas} if all(schemas) else {}


def _split(text: str, separator: str) -> list[str]:
    """The parts of a text between separators that stand outside of brackets."""
    parts, depth = [""], 0
    for char in text:
        depth += (char in "[<") - (char in "]>")
        if char == separator and depth == 0:
            parts.append("")
        else:
            parts[-1] += char
    return [part.strip() for part in parts]
