"""JSON Schemas: what is accepted is enforced, and what can't be enforced is refused with its place."""

import json
from itertools import pairwise
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from service.api.response_format import ConstraintOutcome
from service.decoding.grammars import GrammarKind, accepts
from service.decoding.json_schema import MAX_DEPTH, UNENFORCEABLE, UnusableSchema, parse_schema
from service.errors import InvalidConstraint
from tests.decoding.schemas import ENFORCED, IDS, NOT_ENFORCED, TREE, constraint

FIELD = "response_format.json_schema.json_schema"
VALUES = {
    "contains": {},
    "contentEncoding": "base64",
    "contentMediaType": "text/plain",
    "contentSchema": {},
    "dependentRequired": {"a": ["b"]},
    "dependentSchemas": {"a": {}},
    "dependencies": {"a": ["b"]},
    "else": {},
    "if": {},
    "maxContains": 1,
    "minContains": 1,
    "multipleOf": 2,
    "not": {},
    "then": {},
    "unevaluatedItems": False,
    "unevaluatedProperties": False,
    "uniqueItems": True,
    "$dynamicRef": "#a",
    "$dynamicAnchor": "a",
    "$recursiveRef": "#",
}


def refusal(schema: Any) -> str:
    with pytest.raises(InvalidConstraint) as refused:
        constraint(schema)
    (violation,) = refused.value.violations
    assert violation.field == FIELD
    assert "/project/" not in violation.description
    assert ".cc:" not in violation.description
    assert "Check failed" not in violation.description
    return violation.description


def nested(levels: int) -> Any:
    schema: Any = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


@pytest.mark.parametrize(("schema", "good", "bad"), ENFORCED, ids=IDS)
def test_a_schema_that_is_accepted_is_enforced(schema: Any, good: Any, bad: Any) -> None:
    """By the library that the decoder uses, not only by the validator."""
    text = constraint(schema).constraint.text
    compact = (",", ":") if "enum" in schema else (", ", ": ")
    assert accepts(GrammarKind.JSON_SCHEMA, text, json.dumps(good, separators=compact))
    assert not accepts(GrammarKind.JSON_SCHEMA, text, json.dumps(bad, separators=compact))


@pytest.mark.parametrize(("schema", "good", "bad"), ENFORCED, ids=IDS)
def test_an_answer_is_judged_by_its_schema(schema: Any, good: Any, bad: Any) -> None:
    made = constraint(schema)
    assert made.judge(json.dumps(good), False) is ConstraintOutcome.SATISFIED
    if "format" not in schema:
        assert made.judge(json.dumps(bad), False) is ConstraintOutcome.VIOLATED
    assert made.judge(json.dumps(good)[:-1] + "!", True) is ConstraintOutcome.TRUNCATED


@pytest.mark.parametrize(("schema", "place"), NOT_ENFORCED, ids=lambda value: json.dumps(value)[:80])
def test_what_the_decoder_would_not_enforce_is_refused_with_its_place(schema: Any, place: str) -> None:
    assert refusal(schema).startswith(f"At {place}, ")


@pytest.mark.parametrize("keyword", sorted(UNENFORCEABLE))
def test_a_keyword_that_grammars_cannot_express_is_refused_with_its_place(keyword: str) -> None:
    schema = {"type": "object", "properties": {"a": {"items": {keyword: VALUES[keyword]}}}}
    assert refusal(schema) == f"At $.properties.a.items.{keyword}, the keyword `{keyword}` can't be enforced."


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "not JSON"),
        ('{"type": "string"} x', "not JSON"),
        ('{"const": NaN}', "NaN is not a JSON value"),
        ('{"const": -Infinity}', "-Infinity is not a JSON value"),
        ("true", "has to be a JSON object"),
        ("false", "has to be a JSON object"),
        ("[]", "has to be a JSON object"),
        ('"string"', "has to be a JSON object"),
        ('{"type": "text"}', "not a JSON Schema: at $.type"),
        ('{"properties": []}', "not a JSON Schema: at $.properties"),
        ('{"required": "a"}', "not a JSON Schema: at $.required"),
        ('{"type": "string", "pattern": "("}', "not a JSON Schema: at $.pattern"),
        ('{"enum": []}', "must not be empty"),
        ('{"enum": ["\\ud800"]}', "surrogate"),
        ('{"type": "string", "format": "\\udfff"}', "surrogate"),
        ('{"type": "object", "properties": {"\\ud800": {}}}', "surrogate"),
        ('{"type": "integer", "minimum": 3, "maximum": 1}', "minimum greater than maximum"),
        ('{"type": "integer", "minimum": 1e30}', "exceeds maximum limit"),
        ('{"type": "object", "properties": {"a": false}}', "cannot accept any value"),
        ("[" * 5000, "nested too deeply"),
        ("[" * 5000 + "]" * 5000, "nested too deeply"),
    ],
)
def test_what_is_no_usable_schema_is_told_so(text: str, problem: str) -> None:
    assert problem in refusal(text)


@pytest.mark.parametrize("levels", [MAX_DEPTH, 500])
def test_a_schema_can_be_nested_too_deeply(levels: int) -> None:
    assert refusal(nested(levels)) == f"It is nested more than {MAX_DEPTH} levels deep."


def test_a_schema_can_be_nested() -> None:
    assert constraint(nested(MAX_DEPTH - 1)).judge("[]", False) is ConstraintOutcome.SATISFIED


def chained(references: int) -> Any:
    names = [f"a{i}" for i in range(references)]
    links = {name: {"$ref": f"#/$defs/{after}"} for name, after in pairwise(names)}
    return {"$ref": "#/$defs/a0", "$defs": links | {names[-1]: {"type": "string"}}}


def test_references_may_lead_to_references() -> None:
    assert constraint(chained(MAX_DEPTH)).judge('"x"', False) is ConstraintOutcome.SATISFIED


def test_but_not_for_ever() -> None:
    assert "through too many references" in refusal(chained(400))


@pytest.mark.parametrize("levels", [10, 400])
def test_an_answer_of_a_recursive_schema_is_judged_however_deep_it_is(levels: int) -> None:
    answer = '{"value": 1, "children": [' * levels + '{"value": 2}' + "]}" * levels
    assert constraint(TREE).judge(answer, False) is ConstraintOutcome.SATISFIED
    assert constraint(TREE).judge(answer[:-1], True) is ConstraintOutcome.TRUNCATED


@pytest.mark.parametrize("answer", ["", "{", "nonsense", "[" * 100_000, "NaN x"])
def test_an_answer_that_is_not_json_fits_no_schema(answer: str) -> None:
    assert constraint({}).judge(answer, False) is ConstraintOutcome.VIOLATED


def test_a_schema_is_read_once_however_often_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    text = '{"type": "object", "properties": {"read once": {"type": "integer"}}}'
    first = parse_schema(text)
    monkeypatch.setattr(Draft202012Validator, "check_schema", None)
    assert parse_schema(text) is first


def test_a_bad_schema_is_refused_each_time() -> None:
    for _ in range(2):
        with pytest.raises(UnusableSchema, match="not a JSON Schema"):
            parse_schema('{"type": "refused each time"}')
