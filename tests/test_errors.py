"""Errors that name fields, and how their paths grow."""

import pytest

from service.errors import FieldViolation, InvalidField, Overloaded, join_path

TWO = [FieldViolation("stop[0]", "Too short."), FieldViolation("min_p", "Too large.")]


@pytest.mark.parametrize(
    ("parent", "child", "path"),
    [
        ("a", "b", "a.b"),
        ("a", "[0]", "a[0]"),
        ("a[0]", "b.c", "a[0].b.c"),
        ("", "b", "b"),
        ("a", "", "a"),
        ("", "", ""),
    ],
)
def test_paths_join_as_the_contract_spells_them(parent: str, child: str, path: str) -> None:
    assert join_path(parent, child) == path


def test_all_violations_are_in_the_message() -> None:
    assert str(InvalidField.of(TWO)) == "stop[0]: Too short.; min_p: Too large."


def test_all_violations_move_under_a_parent() -> None:
    error = InvalidField.of(TWO).under("sampling_params")
    assert [violation.field for violation in error.violations] == ["sampling_params.stop[0]", "sampling_params.min_p"]
    assert error.message == "sampling_params.stop[0]: Too short.; sampling_params.min_p: Too large."


def test_a_violation_of_the_whole_message_is_told_without_a_path() -> None:
    assert str(InvalidField("", "One of text, items is required.")) == "One of text, items is required."


def test_facts_given_to_an_error_are_its_own() -> None:
    facts = {"limit": "8"}
    error = Overloaded("Full.", metadata=facts, retry_after_s=1.5)
    facts["limit"] = "9"
    assert (str(error), error.metadata, error.retry_after_s) == ("Full.", {"limit": "8"}, 1.5)


def test_an_error_seen_from_outside_is_the_same_error() -> None:
    error = InvalidField("temperature", "Too hot.", metadata={"limit": "100"})
    assert error.under("top_p").under("sampling_params") is error
    assert error.metadata == {"limit": "100"}
    assert str(error) == "sampling_params.top_p.temperature: Too hot."


def test_a_violation_of_a_whole_message_gets_the_path_of_its_field() -> None:
    assert str(InvalidField("", "One of text, items is required.").under("content")) == (
        "content: One of text, items is required."
    )
