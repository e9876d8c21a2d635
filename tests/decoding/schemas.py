"""JSON Schemas, each with a value that fits it and one that doesn't."""

import json
from typing import Any

from service.api.response_format import JsonSchemaResponseFormat
from service.decoding.constraint import AnswerFormat, Constraint, ConstraintKind
from tests.decoding.tried import tried_format

TREE = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "value": {"type": "integer"},
                "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
            },
            "required": ["value"],
        }
    },
    "$ref": "#/$defs/node",
}

# What a caller may ask for: the decoder enforces all of it.
ENFORCED: list[tuple[Any, Any, Any]] = [
    ({"type": "string"}, "a", 1),
    ({"type": ["string", "null"]}, None, 1),
    ({"type": "boolean"}, True, 1),
    ({"type": "null"}, None, 1),
    ({"type": "integer"}, -7, 1.5),
    ({"type": "number"}, 1.5, "a"),
    ({"enum": [1, "a", None]}, "a", 2),
    ({"type": "string", "enum": ["a", "b"]}, "b", "c"),
    ({"const": "a"}, "a", "b"),
    ({"type": "string", "minLength": 2}, "ab", "a"),
    ({"type": "string", "maxLength": 2}, "ab", "abc"),
    ({"type": "string", "pattern": "^a+$"}, "aa", "ab"),
    ({"type": "string", "pattern": "^(yes|no)$"}, "no", "maybe"),
    ({"type": "string", "format": "date"}, "2026-01-31", "soon"),
    ({"type": "string", "format": "uuid"}, "123e4567-e89b-12d3-a456-426614174000", "x"),
    ({"type": "string", "format": "email"}, "a@example.com", "a"),
    ({"type": "integer", "minimum": 3}, 3, 2),
    ({"type": "integer", "maximum": 3}, 3, 4),
    ({"type": "integer", "exclusiveMinimum": 3}, 4, 3),
    ({"type": "integer", "exclusiveMaximum": 3}, 2, 3),
    ({"type": "number", "minimum": 3, "maximum": 5}, 4.5, 2.5),
    ({"type": "array", "items": {"type": "integer"}}, [1, 2], ["a"]),
    ({"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 2}, [1], [1, 2, 3]),
    ({"items": {"type": "string"}}, ["a"], [1]),
    ({"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}], "items": False}, ["a", 1], [1, "a"]),
    ({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}, {"a": "x"}, {}),
    ({"type": "object", "properties": {"a": {"type": "string"}}}, {}, {"a": 1}),
    ({"properties": {"a": {"type": "string"}}, "required": ["a"]}, {"a": "x"}, {}),
    ({"type": "object", "properties": {"a": {"type": "null"}}, "additionalProperties": False}, {"a": None}, {"b": 1}),
    (
        {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": {"type": "integer"}},
        {"a": "x", "b": 1},
        {"b": "x"},
    ),
    ({"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 2}, {"a": 1, "b": 2}, {"a": 1}),
    ({"type": "object", "additionalProperties": {"type": "integer"}, "maxProperties": 1}, {"a": 1}, {"a": 1, "b": 2}),
    ({"type": "object", "patternProperties": {"^x$": {"type": "integer"}}}, {"x": 1}, {"x": "a"}),
    ({"type": "object", "propertyNames": {"pattern": "^x$"}}, {"x": 1}, {"y": 1}),
    ({"type": "object", "propertyNames": {"enum": ["a"]}}, {"a": 1}, {"b": 1}),
    ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, 1, None),
    ({"type": "string", "anyOf": [{"type": "string", "minLength": 3}, {"type": "string", "enum": ["a"]}]}, "a", "b"),
    ({"oneOf": [{"type": "string"}, {"type": "integer"}]}, "a", None),
    ({"allOf": [{"type": "string"}]}, "a", 1),
    ({"$ref": "#/$defs/a", "$defs": {"a": {"type": "string"}}}, "a", 1),
    ({"$ref": "#/definitions/a", "definitions": {"a": {"type": "string"}}}, "a", 1),
    ({"type": "object", "$ref": "#/$defs/a", "$defs": {"a": {"type": "object"}}}, {}, 1),
    ({"type": "array", "items": {"$ref": "#"}}, [[], [[]]], ["a"]),
    (TREE, {"value": 1, "children": [{"value": 2}]}, {"value": 1, "children": [{}]}),
    (
        {"type": "object", "properties": {"not": {"type": "integer"}, "if": {"type": "integer"}}},
        {"not": 1},
        {"if": "a"},
    ),
    ({"enum": [{"not": 1, "minimum": 2}]}, {"not": 1, "minimum": 2}, {"not": 2}),
    ({"$id": "https://example.com/a", "$schema": "http://json-schema.org/draft-07/schema#", "type": "null"}, None, 1),
    ({"title": "T", "description": "D", "default": 1, "examples": [2], "deprecated": True, "type": "integer"}, 1, "a"),
]
IDS = [json.dumps(schema)[:80] for schema, _, _ in ENFORCED]

# The decoder would take these and enforce something else, or nothing; with the place that is to blame.
NOT_ENFORCED = [
    ({"type": "string", "format": "phone"}, "$.format"),
    ({"minimum": 3}, "$.minimum"),
    ({"minLength": 3}, "$.minLength"),
    ({"format": "date"}, "$.format"),
    ({"minItems": 3}, "$.minItems"),
    ({"required": ["a"]}, "$.required"),
    ({"type": "object", "properties": {"b": {}}, "required": ["b", "a"]}, "$.required"),
    ({"type": "object", "additionalProperties": {"type": "integer"}, "required": ["a"]}, "$.required"),
    ({"allOf": [{"type": "string"}, {"type": "string"}]}, "$.allOf"),
    ({"allOf": [{"type": "string"}], "maxLength": 1}, "$.maxLength"),
    ({"anyOf": [{"type": "string"}], "properties": {}}, "$.properties"),
    ({"anyOf": [{"type": "string"}, {"type": "integer"}], "type": "string"}, "$.type"),
    ({"anyOf": [{"type": "string"}], "oneOf": [{"type": "string"}]}, "$.oneOf"),
    ({"$ref": "#/$defs/a", "$defs": {"a": {"type": "string"}}, "maxLength": 1}, "$.maxLength"),
    ({"enum": ["a", "bb"], "type": "string", "minLength": 2}, "$.enum"),
    ({"enum": ["a", 1], "type": "string"}, "$.enum"),
    ({"const": 1, "type": "string"}, "$.const"),
    ({"const": 1, "enum": [1]}, "$.enum"),
    ({"type": "string", "pattern": "a", "maxLength": 3}, "$"),
    ({"type": "string", "format": "date", "minLength": 3}, "$"),
    ({"type": "string", "pattern": "(?=a)b"}, "$.pattern"),
    ({"type": "string", "pattern": "a\\Z"}, "$.pattern"),
    ({"type": "object", "patternProperties": {"(?=a)b": {}}}, "$.patternProperties"),
    ({"type": "object", "patternProperties": {"a": {}, "b": {}}}, "$.patternProperties"),
    ({"type": "object", "patternProperties": {"a": {}}, "properties": {"b": {}}}, "$.patternProperties"),
    ({"type": "object", "propertyNames": {"maxLength": 3}, "properties": {"b": {}}}, "$.propertyNames"),
    ({"type": "object", "properties": {"a": {"$id": "https://example.com/a", "type": "null"}}}, "$.properties.a.$id"),
    ({"$ref": "https://example.com/schema"}, "$.$ref"),
    ({"$ref": "other.json#/$defs/a"}, "$.$ref"),
    ({"$ref": "#anchor", "$defs": {"a": {"$anchor": "anchor", "type": "string"}}}, "$.$ref"),
    ({"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"type": "string"}}}, "$.$ref"),
    ({"$ref": "#/$defs/missing"}, "$.$ref"),
    ({"$ref": "#/title", "title": "a"}, "$.$ref"),
    ({"$ref": "#"}, "$"),
    ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}, "$"),
    ({"anyOf": [{"type": "string"}, {"$ref": "#"}]}, "$"),
    ({"type": "array", "items": {"type": "string", "not": {"const": "a"}}}, "$.items.not"),
    ({"anyOf": [{"type": "string"}, {"type": "integer", "multipleOf": 2}]}, "$.anyOf[1].multipleOf"),
    ({"$defs": {"a": {"uniqueItems": True}}, "type": "string"}, "$.$defs.a.uniqueItems"),
]


def constraint(schema: Any) -> AnswerFormat:
    text = schema if isinstance(schema, str) else json.dumps(schema)
    made = tried_format(JsonSchemaResponseFormat(json_schema=text), max_bytes=2**16)
    assert made.constraint == Constraint(ConstraintKind.JSON_SCHEMA, text)
    return made
