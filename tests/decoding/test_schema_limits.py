"""Schemas that would take long are refused with the place that is too large; those just below are not."""

import json
from typing import Any

import pytest

from service.decoding.json_schema import UnusableSchema, parse_schema
from service.decoding.schema_limits import MAX_BRANCHES, MAX_LENGTH, MAX_PARTS, MAX_PROPERTIES, MAX_VALUES

STRING = {"type": "string"}


def properties(count: int, **more: Any) -> Any:
    return {"type": "object", "properties": {f"p{number}": STRING for number in range(count)}, **more}


def fan(levels: int, *, keyword: str = "prefixItems") -> Any:
    """Two references a level, to the same schema."""
    links = {f"d{i}": {keyword: [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(levels)}
    return {"$defs": {**links, f"d{levels}": STRING}, "$ref": "#/$defs/d0"}


def refusal(schema: Any) -> str:
    with pytest.raises(UnusableSchema) as refused:
        parse_schema(json.dumps(schema))
    return str(refused.value)


@pytest.mark.parametrize(
    "schema",
    [
        properties(MAX_PROPERTIES),
        properties(100, maxProperties=10),
        {"enum": list(range(MAX_VALUES))},
        {"anyOf": [STRING] * MAX_BRANCHES},
        {"type": "string", "maxLength": MAX_LENGTH},
        {"type": "array", "items": STRING, "minItems": 5, "maxItems": MAX_LENGTH},
        {"type": "object", "additionalProperties": STRING, "maxProperties": 1000},
        fan(11),
        fan(11, keyword="anyOf"),
        fan(30) | {"$ref": "#/$defs/d25"},
        {"type": "object", "properties": {"enum": STRING, "maxLength": STRING}},
    ],
    ids=lambda schema: json.dumps(schema)[:40],
)
def test_large_schemas_are_let_through(schema: Any) -> None:
    assert parse_schema(json.dumps(schema)) == schema


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        (properties(MAX_PROPERTIES + 1), f"At $.properties, it has {MAX_PROPERTIES + 1} entries"),
        ({"items": {"enum": list(range(MAX_VALUES + 1))}}, "At $.items.enum, it has 2001 entries"),
        ({"anyOf": [STRING] * (MAX_BRANCHES + 1)}, "At $.anyOf, it has 257 entries"),
        ({"items": False, "prefixItems": [STRING] * (MAX_BRANCHES + 1)}, "At $.prefixItems, it has"),
        ({"type": "string", "minLength": MAX_LENGTH + 1}, "At $.minLength, it is 100001"),
        ({"type": "string", "maxLength": 1e300}, "At $.maxLength, it is 1e+300"),
        ({"items": STRING, "maxItems": 10**4000}, "At $.maxItems, it is 1e+300"),
        ({"items": STRING, "maxItems": 10**30}, "At $.maxItems, it is 1e+30"),
        (properties(100, maxProperties=50), "At $, 100 properties of which 50 are counted"),
        (fan(10, keyword="prefixItems") | {"allOf": [fan(3)]}, "can't be enforced beside"),
        (fan(30), "stand for more than 10000 schemas"),
        (fan(15, keyword="anyOf"), "stand for more than 10000 schemas"),
        ([{}] * MAX_PARTS, "has to be a JSON object"),
        ({"examples": [[]] * MAX_PARTS}, f"more than {MAX_PARTS} objects and arrays"),
        ({"type": "string", "pattern": "(" * 5000 + ")" * 5000}, "nested too deeply"),
        ({"type": "string", "pattern": "a{99999999999999}"}, "repeats too often"),
        ({"type": "string", "pattern": "(a+)+$"}, "At $.pattern, the pattern `(a+)+$` can't be enforced"),
        ({"type": "object", "patternProperties": {"(a+)+": STRING}}, "At $.patternProperties, the pattern"),
    ],
    ids=lambda value: json.dumps(value)[:40],
)
def test_what_would_take_long_is_refused_with_its_place(schema: Any, problem: str) -> None:
    assert problem in refusal(schema)


def test_a_circle_of_references_counts_once() -> None:
    tree = {"type": "object", "properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}}
    assert parse_schema(json.dumps(tree)) == tree


def test_values_are_compared_with_a_pattern_in_bounded_time() -> None:
    schema = {"type": "string", "pattern": "^(a|aa)*$", "enum": ["a" * 60 + "!"]}
    assert "At $.enum" in refusal(schema)
