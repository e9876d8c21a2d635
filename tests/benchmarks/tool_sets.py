"""Sets of tools drawn at random, the same ones for the same seed, with a question for a model.

Half of the tools have a whole JSON Schema, half have flat parameters with types as Python writes them. What the
arguments must fit is made here beside the types, so that it can be checked without what the service reads into them.
"""

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from service.api.tools import ToolDefinition, ToolInputSchema, ToolParamDefinition, ToolParameters

Schema: TypeAlias = dict[str, Any]

MOST_TOOLS = 8
MOST_PROPERTIES = 4
DEEPEST = 2
VERBS = ("get", "find", "set", "book", "send", "list", "cancel", "convert")
THINGS = ("weather", "flight", "invoice", "user", "song", "route", "alarm", "price", "table", "report")
JOINTS = ("_", "_", "_", "-", ".")
PROPERTIES = (
    "city",
    "date",
    "count",
    "unit",
    "name",
    "active",
    "limit",
    "tags",
    "from",
    "to",
    "kind",
    "note",
    "options",
)
# Such as no language takes for a name.
ODD_PROPERTIES = ("class", "größe", "user id", "a=b", 'q"', "色", "x-y", "@type")
WORDS = ("red", "green", "blue", "celsius", "fahrenheit", "low", "high", "one way", "größer", 'say "hi"')
QUESTIONS = {
    "get": "What is the {} in Paris on Friday?",
    "find": "Find a {} for two people, please.",
    "set": "Set the {} to 7 tomorrow.",
    "book": "I need a {} from Rome to Oslo.",
    "send": "Send the {} to Anna.",
    "list": "Which {} entries are there?",
    "cancel": "Cancel my {}.",
    "convert": "Convert the {} from 20 to something else.",
}
MISFITTING_QUESTIONS = ("Hi!", "Why is the sky blue?", "Tell me a joke.", "2 + 2 = ?", "Wie geht es dir?")


@dataclass(frozen=True)
class ToolSet:
    """Some tools, what the arguments of each must fit, and a question that fits one of them, or none."""

    tools: tuple[ToolDefinition, ...]
    schemas: Mapping[str, Schema]
    question: str
    named: str
    """The tool to be asked for by its name."""


def tool_set(seed: int, tools: int | None = None) -> ToolSet:
    """The set with this number; of 1 to 8 tools where their number isn't given."""
    draw = random.Random(seed)
    # Rather fewer than more: most of the time goes into reading what they are.
    names = _names(draw, tools or min(draw.randint(1, MOST_TOOLS), draw.randint(1, MOST_TOOLS)))
    drawn = [_tool(draw, name) for name in names]
    asked = draw.choice(names)
    question = draw.choice(MISFITTING_QUESTIONS) if draw.random() < 0.3 else _question(asked)
    return ToolSet(
        tools=tuple(definition for definition, _ in drawn),
        schemas={name: schema for name, (_, schema) in zip(names, drawn, strict=True)},
        question=question,
        named=draw.choice(names),
    )


def _names(draw: random.Random, count: int) -> list[str]:
    names: dict[str, None] = {}
    while len(names) < count:
        name = f"{draw.choice(VERBS)}{draw.choice(JOINTS)}{draw.choice(THINGS)}"
        names[name if len(names) < 40 else f"{name}_{len(names)}"] = None
    return list(names)


def _question(tool: str) -> str:
    verb = next(verb for verb in VERBS if tool.startswith(verb))
    return QUESTIONS[verb].format(tool.removeprefix(verb)[1:])


def _tool(draw: random.Random, name: str) -> tuple[ToolDefinition, Schema]:
    description = draw.choice((None, f"Can {name} for the user.", 'Says "yes" or {"no"}.'))
    given, schema = (_whole_schema if draw.random() < 0.5 else _flat)(draw)
    return ToolDefinition(tool_name=name, description=description, input=given), schema


def _whole_schema(draw: random.Random) -> tuple[ToolInputSchema, Schema]:
    schema = _object(draw, 0)
    if draw.random() < 0.1:
        schema["$defs"] = {"place": _object(draw, DEEPEST)}
        schema["properties"]["place"] = {"$ref": "#/$defs/place"}
        schema["required"] = [*schema.get("required", ()), "place"]
    return ToolInputSchema(input_schema_json=json.dumps(schema)), schema


def _flat(draw: random.Random) -> tuple[ToolParameters, Schema]:
    drawn = {name: _flat_type(draw) for name in _property_names(draw)}
    required = {name: draw.choice((None, True, False)) for name in drawn}
    parameters = tuple(
        ToolParamDefinition(name=name, param_type=written, description=f"The {name}.", required=required[name])
        for name, (written, _) in drawn.items()
    )
    return ToolParameters(parameters=parameters), {
        "type": "object",
        "properties": {name: schema for name, (_, schema) in drawn.items()},
        "required": [name for name, needed in required.items() if needed is not False],
        "additionalProperties": False,
    }


FLAT_TYPES: dict[str, Schema] = {
    "str": {"type": "string"},
    "string": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "list[int]": {"type": "array", "items": {"type": "integer"}},
    "list[str]": {"type": "array", "items": {"type": "string"}},
    "dict[str, float]": {"type": "object", "additionalProperties": {"type": "number"}},
    "Optional[str]": {"anyOf": [{"type": "string"}, {"type": "null"}]},
    "int | None": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
    "Union[bool, List[float]]": {"anyOf": [{"type": "boolean"}, {"type": "array", "items": {"type": "number"}}]},
}


def _flat_type(draw: random.Random) -> tuple[str, Schema]:
    """A type as people write it, and what it means."""
    if draw.random() < 0.2:
        schema = _value(draw, DEEPEST)
        return json.dumps(schema), schema
    return draw.choice(list(FLAT_TYPES.items()))


def _property_names(draw: random.Random) -> list[str]:
    count = draw.randint(0 if draw.random() < 0.2 else 1, MOST_PROPERTIES)
    names = draw.sample(PROPERTIES, count)
    if names and draw.random() < 0.2:
        names[draw.randrange(count)] = draw.choice(ODD_PROPERTIES)
    return names


def _object(draw: random.Random, depth: int) -> Schema:
    """Now and then without `required`, or open to other properties, as schemas are that people write."""
    properties = {name: _value(draw, depth + 1) for name in _property_names(draw)}
    schema: Schema = {"type": "object", "properties": properties}
    if draw.random() < 0.9:
        schema["required"] = [name for name in properties if draw.random() < 0.7]
    if draw.random() < 0.7:
        schema["additionalProperties"] = False
    return schema


def _value(draw: random.Random, depth: int) -> Schema:
    plain: list[Callable[[random.Random], Schema]] = [_string, _string, _enum, _enum, _integer, _number, _boolean]
    if depth > DEEPEST or draw.random() < 0.7:
        schema = draw.choice(plain)(draw)
    else:
        schema = draw.choice((_object, _array, _alternatives, _map))(draw, depth + 1)
    return schema | {"description": f"Some {draw.choice(THINGS)}."} if draw.random() < 0.2 else schema


def _string(draw: random.Random) -> Schema:
    shapes: list[Schema] = [
        {},
        {},
        {"minLength": draw.randint(0, 2), "maxLength": draw.randint(3, 12)},
        {"pattern": draw.choice((r"^[A-Z]{3}$", r"^\d{4}-\d{2}$", "^(a|bc)+$"))},
        {"format": draw.choice(("date", "uuid", "email"))},
    ]
    return {"type": "string", **draw.choice(shapes)}


def _enum(draw: random.Random) -> Schema:
    words = draw.sample(WORDS, draw.randint(1, 4))
    kinds: list[Schema] = [
        {"type": "string", "enum": words},
        {"type": "string", "enum": words},
        {"enum": [*words, draw.randint(-5, 5), None, draw.random() < 0.5]},
        {"type": "integer", "enum": draw.sample(range(100), 3)},
        {"const": words[0]},
    ]
    return draw.choice(kinds)


def _integer(draw: random.Random) -> Schema:
    low = draw.randint(-120, 100)
    ranges: list[Schema] = [
        {},
        {"minimum": low},
        {"minimum": low, "maximum": low + draw.randint(0, 300)},
        {"exclusiveMinimum": low, "exclusiveMaximum": low + draw.randint(2, 20)},
    ]
    return {"type": "integer", **draw.choice(ranges)}


def _number(draw: random.Random) -> Schema:
    low = round(draw.uniform(-50, 50), draw.randint(0, 2))
    ranges: list[Schema] = [{}, {"minimum": low, "maximum": low + draw.choice((0.5, 3, 100))}, {"exclusiveMinimum": 0}]
    return {"type": "number", **draw.choice(ranges)}


def _boolean(draw: random.Random) -> Schema:
    return {"type": "boolean"}


def _array(draw: random.Random, depth: int) -> Schema:
    bounds = draw.choice(({}, {"minItems": 1, "maxItems": 3}, {"maxItems": 2}, {"minItems": 2}))
    return {"type": "array", "items": _value(draw, depth), **bounds}


def _alternatives(draw: random.Random, depth: int) -> Schema:
    return {"anyOf": [_value(draw, depth), {"type": "null"}]}


def _map(draw: random.Random, depth: int) -> Schema:
    return {"type": "object", "additionalProperties": _value(draw, depth)}
