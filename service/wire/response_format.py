"""Response formats and their outcomes."""

from typing import assert_never

from inferwire.v1 import response_format_pb2 as pb
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
from service.wire.fields import EnumPair, at, build, chosen, optional

CONSTRAINT_OUTCOME = EnumPair(ConstraintOutcome, pb.ConstraintOutcome, "CONSTRAINT_OUTCOME_")
FORMAT_TYPE = EnumPair(ResponseFormatType, pb.ResponseFormatType, "RESPONSE_FORMAT_TYPE_")


def response_format_from_proto(message: pb.ResponseFormat) -> ResponseFormat:
    kind = chosen(message, "format")
    with at(kind):
        match kind:
            case "json_schema":
                return build(
                    JsonSchemaResponseFormat,
                    json_schema=message.json_schema.json_schema,
                    describe_in_prompt=optional(message.json_schema, "describe_in_prompt"),
                )
            case "grammar":
                return GrammarResponseFormat(grammar=_grammar_from_proto(message.grammar))
            case "regex":
                return build(RegexResponseFormat, pattern=message.regex.pattern)
            case "choice":
                return build(ChoiceResponseFormat, choices=tuple(message.choice.choices))
            case _:
                return JsonObjectResponseFormat()


def response_format_to_proto(response_format: ResponseFormat) -> pb.ResponseFormat:
    match response_format:
        case JsonSchemaResponseFormat(json_schema=schema, describe_in_prompt=describe):
            schema_format = pb.JsonSchemaResponseFormat(json_schema=schema, describe_in_prompt=describe)
            return pb.ResponseFormat(json_schema=schema_format)
        case GrammarResponseFormat(grammar=grammar):
            return pb.ResponseFormat(grammar=_grammar_to_proto(grammar))
        case RegexResponseFormat(pattern=pattern):
            return pb.ResponseFormat(regex=pb.RegexResponseFormat(pattern=pattern))
        case ChoiceResponseFormat(choices=choices):
            return pb.ResponseFormat(choice=pb.ChoiceResponseFormat(choices=choices))
        case JsonObjectResponseFormat():
            return pb.ResponseFormat(json_object=pb.JsonObjectResponseFormat())
        case _:
            assert_never(response_format)


def _grammar_from_proto(message: pb.GrammarResponseFormat) -> EbnfGrammar | BnfGrammar:
    if chosen(message, "grammar") == "ebnf":
        return build(EbnfGrammar, ebnf=message.ebnf)
    with at("bnf"):
        return build(BnfGrammar, rules=dict(message.bnf.rules))


def _grammar_to_proto(grammar: EbnfGrammar | BnfGrammar) -> pb.GrammarResponseFormat:
    match grammar:
        case EbnfGrammar(ebnf=ebnf):
            return pb.GrammarResponseFormat(ebnf=ebnf)
        case BnfGrammar(rules=rules):
            return pb.GrammarResponseFormat(bnf=pb.BnfGrammar(rules=rules))
        case _:
            assert_never(grammar)
