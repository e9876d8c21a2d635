"""JSON Schemas that the decoder can enforce: valid ones, of bearable size, without keywords that it would ignore."""

import json
from collections.abc import Iterator
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from jsonschema.protocols import Validator

from service.decoding import grammars

MAX_DEPTH = 32

# Keywords that grammars can't express. The engine would ignore them or refuse them without saying where.
UNENFORCEABLE = frozenset(
    {
        "contains",
        "contentEncoding",
        "contentMediaType",
        "contentSchema",
        "dependentRequired",
        "dependentSchemas",
        "dependencies",
        "else",
        "if",
        "maxContains",
        "minContains",
        "multipleOf",
        "not",
        "then",
        "unevaluatedItems",
        "unevaluatedProperties",
        "uniqueItems",
        "$dynamicRef",
        "$dynamicAnchor",
        "$recursiveRef",
    }
)
ENFORCEABLE_FORMATS = frozenset(
    {
        "date",
        "date-time",
        "duration",
        "email",
        "hostname",
        "ipv4",
        "ipv6",
        "json-pointer",
        "relative-json-pointer",
        "time",
        "uri",
        "uri-reference",
        "uri-template",
        "uuid",
    }
)
SCHEMA_KEYWORDS = frozenset({"additionalProperties", "items", "propertyNames", "additionalItems"})
SCHEMA_LIST_KEYWORDS = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
SCHEMA_MAP_KEYWORDS = frozenset({"properties", "patternProperties", "$defs", "definitions"})


class UnusableSchema(ValueError):
    """The schema can't be used; the message says why and where."""


def parse_schema(text: str) -> Any:
    """The schema that `text` holds. Raises UnusableSchema with a sentence for the caller."""
    try:
        schema = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise UnusableSchema(f"It is not JSON: {_why(error)}.") from None
    if not isinstance(schema, dict):
        raise UnusableSchema("A schema has to be a JSON object.")
    _check_depth(schema)
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise UnusableSchema(f"It is not a JSON Schema: at {error.json_path}, {error.message}.") from None
    for place, problem in _problems(schema, "$"):
        raise UnusableSchema(f"At {place}, {problem}")
    return schema


def validator_of(schema: Any) -> Validator:
    """Checks values against a schema; references outside of the schema are never fetched."""
    return Draft202012Validator(schema)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON value")


def _why(error: Exception) -> str:
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)


def _check_depth(schema: Any) -> None:
    level = [schema]
    for _ in range(MAX_DEPTH):
        level = [child for node in level for child in _children(node)]
        if not level:
            return
    raise UnusableSchema(f"It is nested more than {MAX_DEPTH} levels deep.")


def _children(node: Any) -> list[Any]:
    values = node.values() if isinstance(node, dict) else node
    return [value for value in values if isinstance(value, dict | list)]


def _problems(schema: Any, place: str) -> Iterator[tuple[str, str]]:
    """What in a schema the decoder can't enforce, with its place."""
    if not isinstance(schema, dict):
        return
    yield from _own_problems(schema, place)
    for sub_place, sub_schema in _sub_schemas(schema, place):
        yield from _problems(sub_schema, sub_place)


def _own_problems(schema: dict[str, Any], place: str) -> Iterator[tuple[str, str]]:
    for keyword in schema.keys() & UNENFORCEABLE:
        yield f"{place}.{keyword}", f"the keyword `{keyword}` can't be enforced."
    if "format" in schema and schema["format"] not in ENFORCEABLE_FORMATS:
        yield f"{place}.format", f"the format `{schema['format']}` can't be enforced."
    if not str(schema.get("$ref", "#")).startswith("#"):
        yield f"{place}.$ref", "a reference must stay within the schema."
    for pattern in (schema.get("pattern"), *schema.get("patternProperties", ())):
        if pattern is not None and (problem := grammars.problem_of_regex(pattern)):
            yield f"{place}.pattern", f"the pattern `{pattern}` can't be enforced: {problem}"
    yield from _problems_of_combinations(schema, place)


def _problems_of_combinations(schema: dict[str, Any], place: str) -> Iterator[tuple[str, str]]:
    """Keywords that can each be enforced alone."""
    if len(schema.get("allOf", ())) > 1:
        yield f"{place}.allOf", "more than one branch of `allOf` can't be enforced."
    if {"pattern", "format"} & schema.keys() and {"minLength", "maxLength"} & schema.keys():
        yield place, "`pattern` or `format` can't be enforced together with a length."
    if "patternProperties" in schema and {"properties", "propertyNames"} & schema.keys():
        yield f"{place}.patternProperties", "it can't be enforced together with `properties` or `propertyNames`."
    if len(schema.get("patternProperties", ())) > 1:
        yield f"{place}.patternProperties", "more than one pattern can't be enforced."
    if {"properties", "propertyNames"} <= schema.keys():
        yield f"{place}.propertyNames", "it can't be enforced together with `properties`."


def _sub_schemas(schema: dict[str, Any], place: str) -> Iterator[tuple[str, Any]]:
    for keyword, value in schema.items():
        if keyword in SCHEMA_KEYWORDS:
            yield f"{place}.{keyword}", value
        elif keyword in SCHEMA_LIST_KEYWORDS:
            yield from ((f"{place}.{keyword}[{index}]", item) for index, item in enumerate(value))
        elif keyword in SCHEMA_MAP_KEYWORDS:
            yield from ((f"{place}.{keyword}.{name}", item) for name, item in value.items())
