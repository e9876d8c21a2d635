"""Constraints: a response format, checked, in the form that engines take, and the verdict on an answer."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, assert_never

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
from service.decoding import expressions, grammars
from service.decoding.compile_check import CompileCheck
from service.decoding.expressions import UnusableGrammar
from service.decoding.grammars import GrammarKind, TooSlow
from service.decoding.json_schema import UnusableSchema, parse_schema
from service.decoding.schema_limits import MAX_VALUES
from service.decoding.validator import is_valid
from service.errors import InvalidConstraint


@dataclass(frozen=True, slots=True)
class Constraint:
    """What an answer must look like.

    `text` is the schema as JSON, the EBNF grammar or the regular expression, by `kind`; empty for the other kinds.
    `field` is where it stands in the request.
    """

    kind: ResponseFormatType
    accepts: Callable[[str], bool]
    text: str = ""
    choices: tuple[str, ...] = ()
    field: str = ""

    def judge(self, answer: str, ended_early: bool) -> ConstraintOutcome | None:
        """The outcome for a finished answer; `ended_early` when a limit or a stop string ended it.

        None when that could not be told in time.
        """
        try:
            if self.accepts(answer):
                return ConstraintOutcome.SATISFIED
        except TooSlow:
            return None
        return ConstraintOutcome.TRUNCATED if ended_early else ConstraintOutcome.VIOLATED


KINDS = {
    ResponseFormatType.JSON_SCHEMA: GrammarKind.JSON_SCHEMA,
    ResponseFormatType.GRAMMAR: GrammarKind.EBNF,
    ResponseFormatType.REGEX: GrammarKind.REGEX,
}
"""What a decoder's library has to read; the other kinds hold nothing that it could fail on."""


async def checked_constraint(
    response_format: ResponseFormat, max_bytes: int, compile_check: CompileCheck
) -> Constraint:
    """The same as constraint_of, for engines to compile: that has been tried. Raises InvalidConstraint."""
    async with compile_check.reading:
        constraint = await asyncio.to_thread(constraint_of, response_format, max_bytes)
    if kind := KINDS.get(constraint.kind):
        try:
            await compile_check.check(kind, constraint.text)
        except UnusableGrammar as error:
            raise InvalidConstraint(constraint.field, str(error)) from None
    return constraint


def constraint_of(response_format: ResponseFormat, max_bytes: int) -> Constraint:
    """Raises InvalidConstraint for what no decoder could enforce, as far as that can be told without reading grammars.

    Takes milliseconds; call it off the event loop.
    """
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
        return replace(make(text), field=path)
    except (UnusableSchema, UnusableGrammar) as error:
        raise InvalidConstraint(path, str(error)) from None


def _from_json_schema(text: str) -> Constraint:
    return Constraint(ResponseFormatType.JSON_SCHEMA, partial(_fits_schema, parse_schema(text), text), text)


def _from_ebnf(text: str) -> Constraint:
    expressions.check_ebnf(text)
    return Constraint(ResponseFormatType.GRAMMAR, partial(grammars.accepts, GrammarKind.EBNF, text), text)


def _from_regex(pattern: str) -> Constraint:
    expressions.check_regex(pattern)
    return Constraint(ResponseFormatType.REGEX, partial(grammars.accepts, GrammarKind.REGEX, pattern), pattern)


def _from_choices(choices: tuple[str, ...], max_bytes: int) -> Constraint:
    path = "response_format.choice.choices"
    if len(set(choices)) < len(choices):
        raise InvalidConstraint(path, "The choices must differ from each other.")
    size = sum(len(choice.encode()) for choice in choices)
    if size > max_bytes:
        raise InvalidConstraint(path, f"They have {size} bytes; the limit is {max_bytes}.")
    if len(choices) > MAX_VALUES:
        raise InvalidConstraint(path, f"There are {len(choices)} choices; the limit is {MAX_VALUES}.")
    if any("\0" in choice for choice in choices):
        raise InvalidConstraint(path, "A choice can't hold the character U+0000.")
    return Constraint(ResponseFormatType.CHOICE, choices.__contains__, choices=choices)


def _fits_schema(schema: Any, text: str, answer: str) -> bool:
    value = _parsed(answer)
    try:
        return value is not NOT_JSON and is_valid(schema, value)
    except RecursionError:
        # Nested deeper than the validator can follow.
        return grammars.accepts(GrammarKind.JSON_SCHEMA, text, answer)


def _is_json_object(answer: str) -> bool:
    return isinstance(_parsed(answer), dict)


NOT_JSON: Any = object()


def _parsed(answer: str) -> Any:
    try:
        return json.loads(answer)
    except (ValueError, RecursionError):
        return NOT_JSON
