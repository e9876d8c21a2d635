"""Expressions and grammars that would hold the decoder up are refused by their looks, and others are not."""

import re

import pytest

from service.decoding.expressions import MAX_ELASTIC, MAX_NESTING, MAX_REPEATS, MAX_SIGNS, check_ebnf, check_regex
from service.decoding.expressions import UnusableGrammar as Unusable

COUNTLESS, TOO_OFTEN, NESTED, IN_A_ROW = "countless ways", "repeat", "levels deep", "in a row"


def nested(levels: int, inside: str = "a") -> str:
    return "(" * levels + inside + ")" * levels


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "^(yes|no)$",
        "a{1,1000}",
        r"[\w.+-]{1,64}@[\w-]{1,63}(\.[\w-]{1,63}){1,8}",
        r"(\d{1,3}\.){3}\d{1,3}",
        r"(\\u[0-9a-f]{4}|[^\"])*",
        "([A-Z]{2}-[0-9]{3,4}(;ok)?){3}",
        "([a-z]+,)*",
        "(?:, ?[a-z]+)*",
        "(?P<name>a+)b",
        "(a{2}){5}",
        "((a*)?)?",
        "([a-z]|[0-9]+)*",
        f".{{1,{MAX_REPEATS}}}",
        r"\(\{[({]+\)",
        "a?" * MAX_ELASTIC,
        nested(MAX_NESTING),
        "|".join(f"word{number}" for number in range(MAX_SIGNS // 2 - 1)),
    ],
    ids=lambda text: text[:30],
)
def test_what_people_write_is_let_through(pattern: str) -> None:
    check_regex(pattern)


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("(a+)+$", COUNTLESS),
        ("(a*)*b", COUNTLESS),
        ("(x+x+)+y", COUNTLESS),
        ("(?:a+)+?", COUNTLESS),
        (r"(\w+\s?){1,50}", COUNTLESS),
        ("(a?b?){9}", COUNTLESS),
        ("(a+|b*)*", COUNTLESS),
        ("(a{1,2}){3,}", COUNTLESS),
        ("x((a+))*", "`((a+))*` repeats"),
        ("(a{1,1000}b){1,1000}", TOO_OFTEN),
        ("(((a{30}){30}){30})", TOO_OFTEN),
        (f"a{{{MAX_REPEATS + 1}}}", TOO_OFTEN),
        (f"a{{{'9' * 5000}}}", TOO_OFTEN),
        ("a{0,99999999999}", TOO_OFTEN),
        (nested(MAX_NESTING + 1), NESTED),
        ("(" * 30_000, NESTED),
        ("[a-z]?" * (MAX_ELASTIC + 1), IN_A_ROW),
        ("[ab]" * (MAX_SIGNS + 1), "parts"),
    ],
    ids=lambda text: text[:30],
)
def test_what_would_hold_the_decoder_up_is_refused(pattern: str, problem: str) -> None:
    with pytest.raises(Unusable, match=re.escape(problem)):
        check_regex(pattern)


@pytest.mark.parametrize(
    "grammar",
    [
        'root ::= "hello " name  # not (a group\nname ::= [a-z]+ | "W" [0-9]{2,3}',
        'root ::= root "a" | "b"',
        'root ::= "(a+)+" [(a+)+] "\\"*"',
        'root ::= ws "[" ws (item ("," ws item)*)? "]"\nitem ::= [a-z]+ ws\nws ::= [ \\t\\n]*',
        'expr ::= term ("+" term)*\nroot ::= expr\nterm ::= [0-9]+ | "(" expr ")"',
        'list ::= "[" (item ("," item){0,99})? "]"\nroot ::= list\nitem ::= list | "x"',
        "\n".join(["root ::= r0", *(f"r{i} ::= r{i + 1} r{i + 1}" for i in range(600)), 'r600 ::= "a"']),
        "\n".join(["root ::= r0", *(f'r{i} ::= "a" r{(i + 1) % 600}?' for i in range(600))]),
    ],
    ids=lambda text: text[:30],
)
def test_grammars_that_people_write_are_let_through(grammar: str) -> None:
    check_ebnf(grammar)


@pytest.mark.parametrize(
    ("grammar", "problem"),
    [
        ('root ::= ("a"*)*', COUNTLESS),
        ("root ::= ws+\nws ::= [ ]*", COUNTLESS),
        ('root ::= ("" | "a"?)*', COUNTLESS),
        ('root ::= a{1,1000}\na ::= b{1,1000} "x"\nb ::= [a-z]', "The rule `root` repeats"),
        ('root ::= "a"{ 1 , 20000 }', TOO_OFTEN),
        ("root ::= " + nested(MAX_NESTING + 1, '"a"'), NESTED),
        ("root ::= " + '"a"? ' * (MAX_ELASTIC + 1), IN_A_ROW),
        ("root ::= " + '"a" ' * (MAX_SIGNS + 1), "parts"),
    ],
    ids=lambda text: text[:30],
)
def test_grammars_that_would_hold_the_decoder_up_are_refused(grammar: str, problem: str) -> None:
    with pytest.raises(Unusable, match=problem):
        check_ebnf(grammar)


@pytest.mark.parametrize("text", ["(", ")", "a)b(", "*a", "(|*)", "a|*"])
def test_what_is_no_expression_is_left_to_its_reader(text: str) -> None:
    check_regex(text)


@pytest.mark.parametrize("text", ["", "nonsense", "root ::= (", "root ::= %", 'root ::= "a', "root ::= *"])
def test_what_is_no_grammar_is_left_to_its_reader(text: str) -> None:
    check_ebnf(text)
