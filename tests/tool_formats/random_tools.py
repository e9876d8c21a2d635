"""Tools with arguments of all kinds that schemas describe, and arguments that fit them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from service.tool_formats.tools import Tool

NAMES = ("get_weather", "search-web", "math.add", "f", "_", "9")
ODD_NAMES = ("class", "None", "a=b", 'a"b', "it's", "größe", "k-v", "@type", "a b", "a\nb", "\\", "(", "x.y", "1", "])")

# The decoder knows no escapes in strings of a limited length.
unescaped = st.characters(exclude_categories=["Cs", "Cc"], exclude_characters='"\\')
# Which the decoder escapes in names and constants, and Python doesn't.
DELETE = "\x7f"
characters = st.characters(exclude_categories=["Cs"], exclude_characters=DELETE)
texts = (
    st.text(characters, max_size=8)
    | st.text("\"'\\/{}[](),:=<>\n\tétrue ", max_size=8)
    | st.sampled_from(["a (=(b))", "true"])
)
property_names = (
    st.text(characters, min_size=1, max_size=4) | st.sampled_from(ODD_NAMES) | st.text("abc", min_size=1, max_size=2)
)


@dataclass(frozen=True)
class Kind:
    """A schema, and what fits it."""

    schema: dict[str, Any]
    values: st.SearchStrategy[Any]


def _strings() -> st.SearchStrategy[Kind]:
    free = st.just(Kind({"type": "string"}, texts))
    lengths = st.tuples(st.integers(0, 3), st.integers(3, 5)).map(
        lambda ends: Kind(
            {"type": "string", "minLength": ends[0], "maxLength": ends[1]},
            st.text(unescaped, min_size=ends[0], max_size=ends[1]),
        )
    )
    return free | lengths


def _numbers() -> st.SearchStrategy[Kind]:
    free = st.sampled_from(
        [
            Kind({"type": "integer"}, st.integers()),
            # No exponents of three digits: Python lists are held to shorter ones.
            Kind({"type": "number"}, st.floats(-1e90, 1e90).map(lambda value: round(value, 9)) | st.integers()),
        ]
    )
    ranges = st.tuples(st.integers(-200, 0), st.integers(0, 200)).map(
        lambda ends: Kind({"type": "integer", "minimum": ends[0], "maximum": ends[1]}, st.integers(*ends))
    )
    return free | ranges


def _constants() -> st.SearchStrategy[Kind]:
    scalars = texts | st.integers(-99, 99) | st.booleans() | st.none()
    return st.lists(scalars, min_size=1, max_size=3, unique_by=json.dumps).map(
        lambda values: Kind({"enum": values}, st.sampled_from(values))
    )


SIMPLE = (
    _strings()
    | _numbers()
    | _constants()
    | st.sampled_from([Kind({"type": "boolean"}, st.booleans()), Kind({"type": "null"}, st.none())])
)


def _array(items: Kind) -> Kind:
    return Kind({"type": "array", "items": items.schema, "maxItems": 3}, st.lists(items.values, max_size=3))


def _object(properties: Mapping[str, Kind], optional: frozenset[str]) -> Kind:
    schema = {
        "type": "object",
        "properties": {name: kind.schema for name, kind in properties.items()},
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }
    return Kind(schema, _members(properties, optional))


def _members(properties: Mapping[str, Kind], optional: frozenset[str]) -> st.SearchStrategy[dict[str, Any]]:
    """In the order of the schema, which fixed dictionaries don't keep for optional ones."""
    chosen = st.fixed_dictionaries(
        {name: kind.values for name, kind in properties.items() if name not in optional},
        optional={name: kind.values for name, kind in properties.items() if name in optional},
    )
    return chosen.map(lambda members: {name: members[name] for name in properties if name in members})


def _objects(kinds: st.SearchStrategy[Kind], most: int = 3) -> st.SearchStrategy[Kind]:
    return st.dictionaries(property_names, kinds, max_size=most).flatmap(
        lambda properties: st.frozensets(st.sampled_from(list(properties) or [""])).map(
            lambda optional: _object(properties, optional)
        )
    )


def _nullable(kind: Kind) -> Kind:
    return Kind({"anyOf": [kind.schema, {"type": "null"}]}, kind.values | st.none())


KINDS = st.recursive(
    SIMPLE, lambda kinds: kinds.map(_array) | kinds.map(_nullable) | _objects(kinds, most=2), max_leaves=4
)


def _with_definition(arguments: Kind, defined: Kind) -> Kind:
    """The same with one more property, whose schema stands elsewhere."""
    schema = arguments.schema | {
        "properties": arguments.schema["properties"] | {"referring": {"$ref": "#/$defs/It's it"}},
        "$defs": {"It's it": defined.schema},
    }
    values = st.tuples(arguments.values, st.lists(defined.values, max_size=1))
    return Kind(schema, values.map(lambda both: both[0] | dict(zip(["referring"], both[1], strict=False))))


ARGUMENTS = _objects(KINDS) | st.builds(_with_definition, _objects(KINDS), KINDS)


@dataclass(frozen=True)
class Example:
    """A tool, and arguments that fit it, in the order of its schema."""

    tool: Tool
    arguments: st.SearchStrategy[dict[str, Any]]


@st.composite
def tools(draw: st.DrawFn, most: int = 2) -> list[Example]:
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=most, unique=True))
    kinds = [draw(ARGUMENTS) for _ in names]
    return [Example(Tool(name, "", kind.schema), kind.values) for name, kind in zip(names, kinds, strict=True)]
