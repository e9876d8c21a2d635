"""Constraints: a response format, checked, in the form that engines take, and the verdict on an answer."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, assert_never

from jsonschema.protocols import Validator

from service.api.response_format import (
    BnfGrammar,
    ChoiceResponseFormat,
    ConstraintOutcome,
    EbnfGrammar,
    GrammarResponseFormat,
    JsonObjectResponseFormat,
    JsonSchemaResponseFormat,
    RegexResponseFormat,
    ResponseFormat,
    ResponseFormatType,
)
from service.decoding import grammars
from service.decoding.grammars import UnusableGrammar
from service.decoding.json_schema import UnusableSchema, parse_schema, validator_of
from service.errors import InvalidConstraint


@dataclass(frozen=True, slots=True)
class Constraint:
    """What an answer must look like.

    `text` is the schema as JSON, the EBNF grammar or the regular expression, by `kind`; empty for the other kinds.
    """

    kind: ResponseFormatType
    accepts: Callable[[str], bool]
    text: str = ""
    choices: tuple[str, ...] = ()

    def judge(self, answer: str, ended_early: bool) -> ConstraintOutcome:
        """The outcome for a finished answer; `ended_early` when a limit or a stop string ended it."""
        if self.accepts(answer):
            return ConstraintOutcome.SATISFIED
        return ConstraintOutcome.TRUNCATED if ended_early else ConstraintOutcome.VIOLATED


def constraint_of(response_format: ResponseFormat, max_bytes: int) -> Constraint:
    """Raises InvalidConstraint for what no decoder could enforce. Takes milliseconds; call it off the event loop."""
    match response_format:
        case JsonSchemaResponseFormat(json_schema=schema):
            return _checked("json_schema.json_schema", schema, max_bytes, _from_json_schema)
        case GrammarResponseFormat(grammar=grammar):
            return _from_grammar(grammar, max_bytes)
        case RegexResponseFormat(pattern=pattern):
            return _checked("regex.pattern", pattern, max_bytes, _from_regex)
        case ChoiceResponseFormat(choices=choices):
            return _from_choices(choices, max_bytes)
        case JsonObjectResponseFormat():
            return Constraint(ResponseFormatType.JSON_OBJECT, _is_json_object)
        case _:
            assert_never(response_format)


def _from_grammar(grammar: EbnfGrammar | BnfGrammar, max_bytes: int) -> Constraint:
    match grammar:
        case EbnfGrammar(ebnf=ebnf):
            return _checked("grammar.ebnf", ebnf, max_bytes, _from_ebnf)
        case BnfGrammar(rules=rules):
            ebnf = "\n".join(f"{name} ::= {right_hand_side}" for name, right_hand_side in rules.items())
            return _checked("grammar.bnf", ebnf, max_bytes, _from_ebnf)
        case _:
            assert_never(grammar)


def _checked(field: str, text: str, max_bytes: int, make: Callable[[str], Constraint]) -> Constraint:
    path = f"response_format.{field}"
    if len(text.encode()) > max_bytes:
        raise InvalidConstraint(path, f"It has {len(text.encode())} bytes; the limit is {max_bytes}.")
    try:
        return make(text)
    except (UnusableSchema, UnusableGrammar) as error:
        raise InvalidConstraint(path, str(error)) from None


def _from_json_schema(text: str) -> Constraint:
    schema = parse_schema(text)
    grammar = grammars.from_json_schema(text)
    return Constraint(ResponseFormatType.JSON_SCHEMA, partial(_fits_schema, validator_of(schema), grammar), text)


def _from_ebnf(text: str) -> Constraint:
    grammar = grammars.from_ebnf(text)
    return Constraint(ResponseFormatType.GRAMMAR, partial(grammars.accepts, grammar), text)


def _from_regex(pattern: str) -> Constraint:
    grammar = grammars.from_regex(pattern)
    return Constraint(ResponseFormatType.REGEX, partial(grammars.accepts, grammar), pattern)


def _from_choices(choices: tuple[str, ...], max_bytes: int) -> Constraint:
    path = "response_format.choice.choices"
    if len(set(choices)) < len(choices):
        raise InvalidConstraint(path, "The choices must differ from each other.")
    size = sum(len(choice.encode()) for choice in choices)
    if size > max_bytes:
        raise InvalidConstraint(path, f"They have {size} bytes; the limit is {max_bytes}.")
    if any("\0" in choice for choice in choices):
        raise InvalidConstraint(path, "A choice can't hold the character U+0000.")
    return Constraint(ResponseFormatType.CHOICE, choices.__contains__, choices=choices)


def _fits_schema(validator: Validator, grammar: Any, answer: str) -> bool:
    value = _parsed(answer)
    try:
        return value is not NOT_JSON and validator.is_valid(value)
    except RecursionError:
        # Nested deeper than the validator can follow.
        return grammars.accepts(grammar, answer)


def _is_json_object(answer: str) -> bool:
    return isinstance(_parsed(answer), dict)


NOT_JSON: Any = object()


def _parsed(answer: str) -> Any:
    try:
        return json.loads(answer)
    except (ValueError, RecursionError):
        return NOT_JSON
