"""Constraints: a response format, checked, in the form that engines take, and the verdict on an answer."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import Any, assert_never, cast

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
)
from service.decoding import expressions, grammars
from service.decoding.compile_check import CallersCheck
from service.decoding.expressions import UnusableGrammar
from service.decoding.grammars import GrammarKind, TooSlow
from service.decoding.json_schema import UnusableSchema, parse_schema
from service.decoding.schema_limits import MAX_VALUES
from service.decoding.validator import is_valid
from service.errors import InvalidConstraint, InvalidField
from service.tool_formats.constraining import Format, constant, json_format, one_of, structural_tag
from service.tool_formats.use import ToolUse


class ConstraintKind(StrEnum):
    """What a constraint's text is written in."""

    JSON_SCHEMA = "json_schema"
    GRAMMAR = "grammar"
    REGEX = "regex"
    CHOICE = "choice"
    JSON_OBJECT = "json_object"
    STRUCTURAL_TAG = "structural_tag"


@dataclass(frozen=True, slots=True)
class Constraint:
    """What an engine holds an answer to.

    `text` is the schema or the structural tag as JSON, the EBNF grammar or the regular expression, by `kind`; empty for
    the other kinds.
    """

    kind: ConstraintKind
    text: str = ""
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AnswerFormat:
    """What the text of an answer must look like, and who says whether it does."""

    constraint: Constraint
    accepts: Callable[[str], bool]
    field: str = ""
    """Where it stands in the request."""

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


def tool_constraint(use: ToolUse, text_format: AnswerFormat | None) -> Constraint | None:
    """What an answer with tools is held to; with `text_format` it is either calls or a text of that format."""
    if use.must_call and text_format is not None:
        raise InvalidField("response_format", "An answer that must be a call has no text that could have a format.")
    wanted = use.constraint(None if text_format is None else _as_part(text_format.constraint))
    return None if wanted is None else Constraint(ConstraintKind.STRUCTURAL_TAG, json.dumps(structural_tag(wanted)))


def _as_part(constraint: Constraint) -> Format:
    """A constraint as a part of a structural tag."""
    match constraint.kind:
        case ConstraintKind.JSON_SCHEMA:
            return json_format(json.loads(constraint.text))
        case ConstraintKind.JSON_OBJECT:
            return json_format({"type": "object"})
        case ConstraintKind.GRAMMAR:
            return {"type": "grammar", "grammar": constraint.text}
        case ConstraintKind.REGEX:
            return {"type": "regex", "pattern": constraint.text}
        case ConstraintKind.CHOICE:
            return one_of([constant(choice) for choice in constraint.choices])
        case ConstraintKind.STRUCTURAL_TAG:
            return cast(Format, json.loads(constraint.text)["format"])
        case _:
            assert_never(constraint.kind)


KINDS = {
    ConstraintKind.JSON_SCHEMA: GrammarKind.JSON_SCHEMA,
    ConstraintKind.GRAMMAR: GrammarKind.EBNF,
    ConstraintKind.REGEX: GrammarKind.REGEX,
}
"""What a decoder's library has to read; the other kinds hold nothing that it could fail on."""


async def checked_format(response_format: ResponseFormat, max_bytes: int, compile_check: CallersCheck) -> AnswerFormat:
    """The same as answer_format_of, for engines to compile: that has been tried. Raises InvalidConstraint."""
    async with compile_check.reading():
        wanted = await asyncio.to_thread(answer_format_of, response_format, max_bytes)
    if kind := KINDS.get(wanted.constraint.kind):
        try:
            await compile_check.check(kind, wanted.constraint.text)
        except UnusableGrammar as error:
            raise InvalidConstraint(wanted.field, str(error)) from None
    return wanted


def answer_format_of(response_format: ResponseFormat, max_bytes: int) -> AnswerFormat:
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
            return AnswerFormat(Constraint(ConstraintKind.JSON_OBJECT), _is_json_object)
        case _:
            assert_never(response_format)


def _from_grammar(grammar: EbnfGrammar | BnfGrammar, max_bytes: int) -> AnswerFormat:
    match grammar:
        case EbnfGrammar(ebnf=ebnf):
            return _checked("grammar.ebnf", ebnf, max_bytes, _from_ebnf)
        case BnfGrammar(rules=rules):
            ebnf = "\n".join(f"{name} ::= {right_hand_side}" for name, right_hand_side in rules.items())
            return _checked("grammar.bnf", ebnf, max_bytes, _from_ebnf)
        case _:
            assert_never(grammar)


def _checked(field: str, text: str, max_bytes: int, make: Callable[[str], AnswerFormat]) -> AnswerFormat:
    path = f"response_format.{field}"
    if len(text.encode()) > max_bytes:
        raise InvalidConstraint(path, f"It has {len(text.encode())} bytes; the limit is {max_bytes}.")
    try:
        return replace(make(text), field=path)
    except (UnusableSchema, UnusableGrammar) as error:
        raise InvalidConstraint(path, str(error)) from None


def _from_json_schema(text: str) -> AnswerFormat:
    accepts = partial(_fits_schema, parse_schema(text), text)
    return AnswerFormat(Constraint(ConstraintKind.JSON_SCHEMA, text), accepts)


def _from_ebnf(text: str) -> AnswerFormat:
    expressions.check_ebnf(text)
    return AnswerFormat(Constraint(ConstraintKind.GRAMMAR, text), partial(grammars.accepts, GrammarKind.EBNF, text))


def _from_regex(pattern: str) -> AnswerFormat:
    expressions.check_regex(pattern)
    return AnswerFormat(
        Constraint(ConstraintKind.REGEX, pattern), partial(grammars.accepts, GrammarKind.REGEX, pattern)
    )


def _from_choices(choices: tuple[str, ...], max_bytes: int) -> AnswerFormat:
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
    return AnswerFormat(Constraint(ConstraintKind.CHOICE, choices=choices), choices.__contains__)


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
