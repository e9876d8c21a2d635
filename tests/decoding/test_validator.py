"""Values are told to fit or not, or not to be told in time: never nothing."""

import time
from typing import Any

import pytest
import regex

from service.decoding.grammars import GrammarKind, TooSlow, accepts
from service.decoding.validator import is_valid, unfit

BACKTRACKING = "^(a|a|aa)+$"
LONG = "a" * 200 + "!"
DRAFT = "https://json-schema.org/draft/2020-12/schema"
SLOW = {"pattern": BACKTRACKING}
# Both branches of each level lead to the next: 2 ** levels ways.
DOUBLING = {
    "$defs": {"n": {"oneOf": [{"type": "null"}, *({"type": "array", "items": {"$ref": "#/$defs/n"}},) * 2]}},
    "$ref": "#/$defs/n",
}


def deep(levels: int) -> Any:
    value: Any = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("schema", "value", "valid"),
    [
        ({"type": "string", "pattern": "^a+$"}, "aa", True),
        ({"type": "string", "pattern": "^a+$"}, "ab", False),
        ({"pattern": "a"}, 1, True),
        ({"patternProperties": {"^a": {"type": "null"}}}, {"ab": None, "b": 1}, True),
        ({"patternProperties": {"^a": {"type": "null"}}}, {"ab": 1}, False),
        ({"patternProperties": {"^a": {"type": "null"}}}, [1], True),
        (DOUBLING, None, True),
        (DOUBLING, 1, False),
    ],
)
def test_a_value_fits_or_not(schema: Any, value: Any, valid: bool) -> None:
    assert is_valid(schema, value) is valid


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"pattern": BACKTRACKING}, LONG),
        ({"patternProperties": {BACKTRACKING: {}}}, {LONG: 1}),
        ({"items": {"pattern": BACKTRACKING}}, [LONG] * 3),
        ({"$schema": DRAFT, "items": {"$ref": "#/$defs/slow"}, "$defs": {"slow": SLOW}}, [LONG]),
        ({"items": {**SLOW, "$schema": DRAFT}}, [LONG]),
        (DOUBLING, deep(60)),
    ],
)
def test_what_takes_too_long_to_tell_is_left(schema: Any, value: Any) -> None:
    with pytest.raises(TooSlow):
        is_valid(schema, value, cpu_s=0.05)


def test_of_several_values_those_are_told_that_do_not_fit() -> None:
    assert unfit({"type": "string"}, ["a", 1, "b", None]) == [1, None]


def test_several_values_have_their_time_together() -> None:
    schema = {"pattern": f"{BACKTRACKING}|^a"}
    unfit(schema, [LONG[-8:]] * 3, cpu_s=0.05)
    with pytest.raises(TooSlow):
        unfit(schema, [LONG] * 3, cpu_s=0.05)


def test_many_values_are_told_as_fast_as_one() -> None:
    begun_s = time.process_time()
    assert unfit({"type": "string", "minLength": 1}, ["a"] * 5000) == []
    assert all(is_valid({"type": "string"}, "a") for _ in range(5000))
    assert time.process_time() - begun_s < 1.5


def test_a_machine_that_is_busy_is_no_reason_not_to_know(monkeypatch: pytest.MonkeyPatch) -> None:
    search, calls = regex.search, []

    def kept_waiting(*arguments: Any, **options: Any) -> Any:
        calls.append(options["timeout"])
        if len(calls) < 5:
            raise TimeoutError
        return search(*arguments, **options)

    monkeypatch.setattr(regex, "search", kept_waiting)
    assert is_valid({"pattern": "^a+$"}, "aa", cpu_s=0.5)
    assert len(calls) == 5


def test_a_text_is_followed_through_a_grammar_only_so_long() -> None:
    ambiguous = "root ::= root root | [a-z]"
    assert accepts(GrammarKind.EBNF, ambiguous, "abc")
    with pytest.raises(TooSlow):
        accepts(GrammarKind.EBNF, ambiguous, "a" * 10_000, cpu_s=0.05)
