"""Response formats as constraints: what is taken, what is refused and why, and what answers are judged to be."""

import json

import pytest

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
from service.decoding.constraint import AnswerFormat, ConstraintKind
from service.errors import InvalidConstraint
from tests.decoding.tried import tried_format

SATISFIED, TRUNCATED, VIOLATED = (
    ConstraintOutcome.SATISFIED,
    ConstraintOutcome.TRUNCATED,
    ConstraintOutcome.VIOLATED,
)
GREETING = 'root ::= "hello " name  # a comment\nname ::= [a-z]+ | "W" [0-9]{2,3}'
GREETING_RULES = {"name": '[a-z]+ | "W" [0-9]{2,3}', "root": '"hello " name'}


def ebnf(text: str) -> ResponseFormat:
    return GrammarResponseFormat(grammar=EbnfGrammar(ebnf=text))


def bnf(**rules: str) -> ResponseFormat:
    return GrammarResponseFormat(grammar=BnfGrammar(rules=rules))


def regex(pattern: str) -> ResponseFormat:
    return RegexResponseFormat(pattern=pattern)


def choice(*choices: str) -> ResponseFormat:
    return ChoiceResponseFormat(choices=choices)


def made(response_format: ResponseFormat, max_bytes: int = 2**16) -> AnswerFormat:
    return tried_format(response_format, max_bytes)


def refusal(response_format: ResponseFormat, max_bytes: int = 2**16) -> tuple[str, str]:
    with pytest.raises(InvalidConstraint) as refused:
        made(response_format, max_bytes)
    (violation,) = refused.value.violations
    assert not {"/project/", ".cc:", "Check failed"} & set(violation.description.split())
    assert "/project" not in violation.description
    return violation.field, violation.description


@pytest.mark.parametrize(
    ("response_format", "good", "bad"),
    [
        (ebnf(GREETING), ["hello ann", "hello W12", "hello W123"], ["", "hello", "hello W1", "Hello ann"]),
        (bnf(**GREETING_RULES), ["hello ann", "hello W12"], ["", "hello W1"]),
        (ebnf('root ::= "a" root | "b"'), ["b", "aab"], ["a"]),
        (ebnf('root ::= root "a" | "b"'), ["b", "baa"], ["a"]),
        (ebnf('root ::= "" | "ü\\n"'), ["", "ü\n"], ["ü"]),
        (ebnf("root ::= [^a]*"), ["", "东京"], ["a"]),
        (regex("[a-c]{2}|x?"), ["ab", "", "x"], ["a", "abc"]),
        (regex("^a+$"), ["a", "aa"], ["", "b"]),
        (regex("^a$|^b$"), ["a", "b"], ["c"]),
        (regex(r"\d{3}-\w\s?"), ["123-a", "123-b "], ["12-a"]),
        (regex(r"(?:é|\u0041|\x42|[\d.])"), ["é", "A", "B", "7", "."], ["C"]),
        (regex(r"[\]\^$]\$\\"), ["]$\\", "^$\\", "$$\\"], ["]"]),
        (choice("yes", "no"), ["yes", "no"], ["", "y", "yes ", "YES"]),
        (choice('"quoted"\n', "\\"), ['"quoted"\n', "\\"], ["quoted"]),
        (JsonObjectResponseFormat(), ["{}", '{"a": [1]}', " {}\n"], ["", "[]", "1", "{", "{} {}"]),
        (JsonSchemaResponseFormat(json_schema='{"type": "integer"}'), ["1", "-1", " 2 "], ["", "1.5", '"1"', "1 1"]),
    ],
)
def test_an_answer_is_judged_by_its_constraint(
    response_format: ResponseFormat, good: list[str], bad: list[str]
) -> None:
    constraint = made(response_format)
    assert {answer: constraint.judge(answer, False) for answer in good} == dict.fromkeys(good, SATISFIED)
    assert {answer: constraint.judge(answer, True) for answer in good} == dict.fromkeys(good, SATISFIED)
    assert {answer: constraint.judge(answer, False) for answer in bad} == dict.fromkeys(bad, VIOLATED)
    assert {answer: constraint.judge(answer, True) for answer in bad} == dict.fromkeys(bad, TRUNCATED)


@pytest.mark.parametrize(
    ("response_format", "kind", "text", "choices"),
    [
        (ebnf(GREETING), ConstraintKind.GRAMMAR, GREETING, ()),
        (bnf(root='"a"'), ConstraintKind.GRAMMAR, 'root ::= "a"', ()),
        (regex("a|b"), ConstraintKind.REGEX, "a|b", ()),
        (choice("b", "a"), ConstraintKind.CHOICE, "", ("b", "a")),
        (JsonObjectResponseFormat(), ConstraintKind.JSON_OBJECT, "", ()),
    ],
)
def test_engines_get_what_the_caller_wrote(
    response_format: ResponseFormat, kind: ConstraintKind, text: str, choices: tuple[str, ...]
) -> None:
    constraint = made(response_format).constraint
    assert (constraint.kind, constraint.text, constraint.choices) == (kind, text, choices)


@pytest.mark.parametrize(
    ("response_format", "field", "problem"),
    [
        (ebnf('start ::= "a"'), "grammar.ebnf", 'root rule with name "root" is not found'),
        (ebnf("root ::= missing"), "grammar.ebnf", 'Rule "missing" is not defined'),
        (ebnf('root ::= "a'), "grammar.ebnf", 'Expect " in string literal'),
        (ebnf("   "), "grammar.ebnf", "root"),
        (ebnf('root ::= "a" | ('), "grammar.ebnf", "line 1"),
        (ebnf('root ::= "a"{3,1}'), "grammar.ebnf", "3 > 1"),
        (ebnf("root ::= [z-a]"), "grammar.ebnf", "lower bound is larger"),
        (ebnf("root ::= " + "(" * 30_000 + '"a"' + ")" * 30_000), "grammar.ebnf", "32 levels"),
        (ebnf('root ::= "a\0b"'), "grammar.ebnf", "string literal"),
        (bnf(start='"a"'), "grammar.bnf", "root"),
        (bnf(root='"a'), "grammar.bnf", "string literal"),
        (regex("("), "regex.pattern", "not closed"),
        (regex("a**"), "regex.pattern", "repetition"),
        (regex("[z-a]"), "regex.pattern", "lower bound is larger"),
        (regex("(?=a)b"), "regex.pattern", "Lookahead"),
        (regex("(?<=a)b"), "regex.pattern", "Lookbehind"),
        (regex("(?i)a"), "regex.pattern", "flag"),
        (regex(r"(a)\1"), "regex.pattern", "Backreference"),
        (regex(r"\bword"), "regex.pattern", "Word boundary"),
        (regex(r"\p{L}"), "regex.pattern", "class escape"),
        (regex(r"\Aword\Z"), "regex.pattern", r"The escape `\A`"),
        (regex(r"[\h]"), "regex.pattern", r"The escape `\h`"),
        (regex(r"a\0"), "regex.pattern", r"The escape `\0`"),
        (regex("a^b"), "regex.pattern", "`^` is only supported"),
        (regex("a$b"), "regex.pattern", "`$` is only supported"),
        (regex("a\0"), "regex.pattern", "null"),
        (regex("(" * 30_000 + ")" * 30_000), "regex.pattern", "32 levels"),
        (choice("a", "b", "a"), "choice.choices", "differ"),
        (choice("a\0b"), "choice.choices", "U+0000"),
    ],
)
def test_what_cannot_be_enforced_is_refused_with_a_reason(
    response_format: ResponseFormat, field: str, problem: str
) -> None:
    blamed, description = refusal(response_format)
    assert blamed == f"response_format.{field}"
    assert problem in description
    assert len(description) < 300


@pytest.mark.parametrize(
    ("response_format", "field"),
    [
        (ebnf('root ::= "aaa"'), "grammar.ebnf"),
        (bnf(root='"aaa"'), "grammar.bnf"),
        (regex("é" * 8), "regex.pattern"),
        (choice("a" * 7, "b" * 8), "choice.choices"),
        (JsonSchemaResponseFormat(json_schema=json.dumps({"type": "null"})), "json_schema.json_schema"),
    ],
)
def test_a_constraint_may_be_as_large_as_the_limit_and_no_larger(response_format: ResponseFormat, field: str) -> None:
    size = {"grammar.ebnf": 14, "grammar.bnf": 14, "regex.pattern": 16, "choice.choices": 15}.get(field, 16)
    assert made(response_format, max_bytes=size).constraint.kind
    assert refusal(response_format, max_bytes=size - 1) == (
        f"response_format.{field}",
        f"{'They have' if field == 'choice.choices' else 'It has'} {size} bytes; the limit is {size - 1}.",
    )
