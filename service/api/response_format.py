"""Structured output: what shape an answer must have, and whether it has."""

from enum import StrEnum
from typing import Annotated, TypeAlias

from pydantic import Field

from service.api.base import ApiModel

NonEmpty: TypeAlias = Annotated[str, Field(min_length=1)]


class ResponseFormatType(StrEnum):
    JSON_SCHEMA = "json_schema"
    GRAMMAR = "grammar"
    REGEX = "regex"
    CHOICE = "choice"
    JSON_OBJECT = "json_object"


class JsonSchemaResponseFormat(ApiModel):
    """`json_schema` is JSON text; `describe_in_prompt` None means true in a chat and false in a completion."""

    json_schema: NonEmpty
    describe_in_prompt: bool | None = None


class EbnfGrammar(ApiModel):
    ebnf: NonEmpty


class BnfGrammar(ApiModel):
    """Right-hand sides by rule name."""

    rules: Annotated[dict[str, str], Field(min_length=1)]


class GrammarResponseFormat(ApiModel):
    grammar: EbnfGrammar | BnfGrammar


class RegexResponseFormat(ApiModel):
    pattern: NonEmpty


class ChoiceResponseFormat(ApiModel):
    choices: Annotated[tuple[NonEmpty, ...], Field(min_length=1)]


class JsonObjectResponseFormat(ApiModel):
    pass


ResponseFormat: TypeAlias = (
    JsonSchemaResponseFormat
    | GrammarResponseFormat
    | RegexResponseFormat
    | ChoiceResponseFormat
    | JsonObjectResponseFormat
)


class ConstraintOutcome(StrEnum):
    SATISFIED = "satisfied"
    TRUNCATED = "truncated"
    VIOLATED = "violated"
