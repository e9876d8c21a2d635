"""JSON Schemas that the decoder can enforce: valid ones, of bearable size, without keywords that it would ignore."""

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from service.decoding import grammars
from service.decoding.expressions import UnusableGrammar, check_regex
from service.decoding.grammars import GrammarKind, TooSlow
from service.decoding.schema_limits import (
    MAX_PARTS,
    MAX_SCHEMAS,
    children,
    count_expanded,
    has_too_many_parts,
    problems_of_size,
)
from service.decoding.validator import unfit

MAX_DEPTH = 32
REMEMBERED = 64
"""Schemas that were read and found good: a service asks with the same few, each of which takes milliseconds."""
# Escapes (`~1`, `%20`) are read in different ways by the decoder and by the validator.
PLAIN_REFERENCE = re.compile(r"#(/[^~%]*)?")

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
DEFINITIONS = frozenset({"$defs", "definitions"})
SCHEMA_MAP_KEYWORDS = frozenset({"properties", "patternProperties"}) | DEFINITIONS

# What speaks of values of one type only. The decoder infers the type from some of them, where it isn't given.
KEYWORDS_OF_TYPES = {
    "string": frozenset({"minLength", "maxLength", "pattern", "format"}),
    "number": frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}),
    "array": frozenset({"items", "prefixItems", "minItems", "maxItems"}),
    "object": frozenset(
        {
            "properties",
            "required",
            "additionalProperties",
            "patternProperties",
            "propertyNames",
            "minProperties",
            "maxProperties",
        }
    ),
}
TYPE_INFERRED_FROM = {
    "array": frozenset({"items", "prefixItems"}),
    "object": frozenset({"properties", "additionalProperties"}),
}
OF_SOME_TYPE = frozenset[str]().union(*KEYWORDS_OF_TYPES.values())
# Each of these decides alone: the decoder ignores other assertions beside it.
VALUE_KEYWORDS = frozenset({"const", "enum"})
BRANCH_KEYWORDS = frozenset({"$ref", "allOf", "anyOf", "oneOf"})
DECISIVE = VALUE_KEYWORDS | BRANCH_KEYWORDS


class UnusableSchema(ValueError):
    """The schema can't be used; the message says why and where."""


@lru_cache(REMEMBERED)
def parse_schema(text: str) -> Any:
    """The schema that `text` holds; nobody may change it. Raises UnusableSchema with a sentence for the caller."""
    try:
        schema = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise UnusableSchema(f"It is not JSON: {_why(error)}.") from None
    if not isinstance(schema, dict):
        raise UnusableSchema("A schema has to be a JSON object.")
    if not _is_unicode(schema):
        raise UnusableSchema("It holds half of a surrogate pair, which no text can.")
    _check_depth(schema)
    if has_too_many_parts(schema):
        raise UnusableSchema(f"It has more than {MAX_PARTS} objects and arrays.")
    # Before the next check, which takes a quarter of a second for what is just small enough.
    _refuse(_problems_of_size(schema))
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise UnusableSchema(f"It is not a JSON Schema: at {error.json_path}, {error.message}.") from None
    except (RecursionError, OverflowError):
        raise UnusableSchema("It holds a pattern that is nested too deeply or repeats too often.") from None
    _refuse(_problems(schema))
    _check_size(schema)
    return schema


def check_patterns(text: str) -> None:
    """Raises UnusableGrammar for a pattern that can't be read, with its place. As slow as grammars.read."""
    for place, schema in _schemas(json.loads(text), "$"):
        for pattern, keyword in _patterns(schema):
            try:
                grammars.read(GrammarKind.REGEX, pattern)
            except UnusableGrammar as error:
                problem = _unenforceable(pattern, str(error))
                raise UnusableGrammar(f"At {place}.{keyword}, {problem}") from None


def _refuse(problems: Iterator[tuple[str, str]]) -> None:
    for place, problem in problems:
        raise UnusableSchema(f"At {place}, {problem}")


def _problems_of_size(root: Any) -> Iterator[tuple[str, str]]:
    """For JSON that may be no schema yet."""
    for place, schema in _schemas(root, "$"):
        yield from problems_of_size(schema, place)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON value")


def _why(error: Exception) -> str:
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)


def _is_unicode(schema: Any) -> bool:
    try:
        json.dumps(schema, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    except RecursionError:
        pass  # told as what it is by the check that follows
    return True


def _check_depth(schema: Any) -> None:
    level = [schema]
    for _ in range(MAX_DEPTH):
        level = [child for node in level for child in children(node)]
        if not level:
            return
    raise UnusableSchema(f"It is nested more than {MAX_DEPTH} levels deep.")


def _check_size(schema: dict[str, Any]) -> None:
    references = References(schema)
    try:
        count = count_expanded(schema, lambda part: [*_held(part), *references.targets(part)])
    except RecursionError:
        raise UnusableSchema("Its references lead to each other over too many steps.") from None
    if count > MAX_SCHEMAS:
        raise UnusableSchema(f"Its references stand for more than {MAX_SCHEMAS} schemas in all.")


def _held(schema: dict[str, Any]) -> list[Any]:
    """The schemas in a schema, without those that are only there to be led to."""
    used = {keyword: value for keyword, value in schema.items() if keyword not in DEFINITIONS}
    return [sub_schema for _, sub_schema in _sub_schemas(used, "")]


def _problems(root: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What in a schema the decoder can't enforce, with its place."""
    references = References(root)
    for place, schema in _schemas(root, "$"):
        yield from _problems_of_keywords(schema, place)
        yield from _problems_of_combinations(schema, place)
        yield from _problems_of_types(schema, place)
        yield from references.problems(schema, place)
        yield from _problems_of_neighbours(schema, place, references)


def _schemas(schema: Any, place: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """A schema and all schemas in it, with their places; true and false have nothing to check."""
    if not isinstance(schema, dict):
        return
    yield place, schema
    for sub_place, sub_schema in _sub_schemas(schema, place):
        yield from _schemas(sub_schema, sub_place)


def _problems_of_keywords(schema: dict[str, Any], place: str) -> Iterator[tuple[str, str]]:
    for keyword in sorted(schema.keys() & UNENFORCEABLE):
        yield f"{place}.{keyword}", f"the keyword `{keyword}` can't be enforced."
    if "format" in schema and schema["format"] not in ENFORCEABLE_FORMATS:
        yield f"{place}.format", f"the format `{schema['format']}` can't be enforced."
    if "$id" in schema and place != "$":
        yield f"{place}.$id", "only the whole schema may have an `$id`."
    for pattern, keyword in _patterns(schema):
        try:
            check_regex(pattern)
        except UnusableGrammar as error:
            yield f"{place}.{keyword}", _unenforceable(pattern, str(error))


def _patterns(schema: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Regular expressions, each with the keyword that holds it."""
    if "pattern" in schema:
        yield schema["pattern"], "pattern"
    for pattern in schema.get("patternProperties", ()):
        yield pattern, "patternProperties"


def _unenforceable(pattern: str, problem: str) -> str:
    return f"the pattern `{pattern}` can't be enforced: {problem}"


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


def _problems_of_types(schema: dict[str, Any], place: str) -> Iterator[tuple[str, str]]:
    if DECISIVE & schema.keys():
        return
    for name, keywords in KEYWORDS_OF_TYPES.items():
        inferred = TYPE_INFERRED_FROM.get(name, frozenset()) & schema.keys()
        if "type" not in schema and not inferred:
            for keyword in sorted(keywords & schema.keys()):
                yield f"{place}.{keyword}", f"the keyword `{keyword}` can't be enforced without `type`."
    for name in schema.get("required", ()):
        if name not in schema.get("properties", ()):
            yield f"{place}.required", f"`{name}` can't be required without being one of `properties`."


def _problems_of_neighbours(schema: dict[str, Any], place: str, references: "References") -> Iterator[tuple[str, str]]:
    """Assertions beside a keyword that decides alone."""
    for decisive in sorted(DECISIVE & schema.keys()):
        ignored = ((OF_SOME_TYPE | DECISIVE | {"type"}) & schema.keys()) - {decisive}
        if decisive in VALUE_KEYWORDS and not ignored & DECISIVE:
            values = schema["enum"] if decisive == "enum" else [schema["const"]]
            yield from _misfits({keyword: schema[keyword] for keyword in ignored}, values, f"{place}.{decisive}")
            continue
        if ignored == {"type"} and references.types_of_branches(schema, decisive) == [schema["type"]]:
            continue
        for keyword in sorted(ignored):
            yield f"{place}.{keyword}", f"the keyword `{keyword}` can't be enforced beside `{decisive}`."


def _misfits(rest: dict[str, Any], values: list[Any], place: str) -> Iterator[tuple[str, str]]:
    try:
        for value in unfit(rest, values):
            yield place, f"the value {json.dumps(value)} doesn't fit the rest of the schema."
    except TooSlow:
        yield place, "its values can't be compared with the rest of the schema in time."


class References:
    """The references of a schema, which must stay within it and lead somewhere."""

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._sound: set[int] = set()

    def problems(self, schema: dict[str, Any], place: str) -> Iterator[tuple[str, str]]:
        reference = schema.get("$ref")
        if reference is not None and not PLAIN_REFERENCE.fullmatch(reference):
            yield f"{place}.$ref", "a reference must stay within the schema, as in `#/$defs/name`."
        elif reference is not None and not isinstance(self._target(reference), dict | bool):
            yield f"{place}.$ref", f"`{reference}` leads to no schema."
        elif self._circles(schema, set()):
            yield place, "it leads back to itself, or through too many references, before anything is written."

    def types_of_branches(self, schema: dict[str, Any], keyword: str) -> list[Any]:
        """The `type` of each branch, equal ones once."""
        branches = [schema] if keyword == "$ref" else schema[keyword]
        types: list[Any] = []
        for branch in branches:
            branch = self._target(branch["$ref"]) if isinstance(branch, dict) and "$ref" in branch else branch
            found = branch.get("type") if isinstance(branch, dict) else None
            types += [] if found in types else [found]
        return types

    def targets(self, schema: dict[str, Any]) -> list[Any]:
        """What the schema's own reference leads to, if it has one."""
        return [self._target(schema["$ref"])] if "$ref" in schema else []

    def _target(self, reference: str) -> Any:
        node: Any = self._root
        for name in reference.split("/")[1:]:
            node = node.get(name) if isinstance(node, dict) else None
        return node

    def _circles(self, schema: Any, above: set[int]) -> bool:
        """Whether a schema has to be followed for ever to know what it asks of a value."""
        if not isinstance(schema, dict) or id(schema) in self._sound:
            return False
        if id(schema) in above or len(above) > MAX_DEPTH:
            return True
        branches = [branch for keyword in ("allOf", "anyOf", "oneOf") for branch in schema.get(keyword, ())]
        if "$ref" in schema:
            branches.append(self._target(schema["$ref"]))
        if any(self._circles(branch, above | {id(schema)}) for branch in branches):
            return True
        self._sound.add(id(schema))
        return False


def _sub_schemas(schema: dict[str, Any], place: str) -> Iterator[tuple[str, Any]]:
    for keyword, value in schema.items():
        if keyword == "propertyNames" and isinstance(value, dict) and not DECISIVE & value.keys():
            yield f"{place}.{keyword}", {"type": "string"} | value
        elif keyword in SCHEMA_KEYWORDS:
            yield f"{place}.{keyword}", value
        elif keyword in SCHEMA_LIST_KEYWORDS and isinstance(value, list):
            yield from ((f"{place}.{keyword}[{index}]", item) for index, item in enumerate(value))
        elif keyword in SCHEMA_MAP_KEYWORDS and isinstance(value, dict):
            yield from ((f"{place}.{keyword}.{name}", item) for name, item in value.items())
