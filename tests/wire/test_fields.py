"""What all converters share."""

from enum import StrEnum

import pytest
from google.protobuf.struct_pb2 import Struct

from inferwire.v1.tools_pb2 import ToolChoice as ProtoToolChoice
from service.errors import InvalidField, UnknownField
from service.wire.fields import EnumPair, at, facts_from_proto, struct_of


class Choice(StrEnum):
    AUTO = "auto"
    NONE = "none"


choices = EnumPair(Choice, ProtoToolChoice, "TOOL_CHOICE_")


def test_enum_values_map_by_name() -> None:
    assert choices.to_proto(Choice.NONE) == ProtoToolChoice.TOOL_CHOICE_NONE
    assert choices.from_proto(ProtoToolChoice.TOOL_CHOICE_NONE, "mode") is Choice.NONE


def test_no_enum_value_is_unspecified() -> None:
    assert choices.to_proto(None) == ProtoToolChoice.TOOL_CHOICE_UNSPECIFIED
    assert choices.from_proto(ProtoToolChoice.TOOL_CHOICE_UNSPECIFIED, "mode") is None


def test_a_required_enum_value_may_not_be_unspecified() -> None:
    with pytest.raises(InvalidField, match="mode: A value is required"):
        choices.required_from_proto(ProtoToolChoice.TOOL_CHOICE_UNSPECIFIED, "mode")


def test_an_enum_value_that_only_the_contract_knows_is_unknown() -> None:
    with pytest.raises(UnknownField, match="mode: The value 2 is unknown"):
        choices.from_proto(ProtoToolChoice.TOOL_CHOICE_REQUIRED, "mode")


def test_an_enum_without_counterpart_is_a_defect_seen_at_import() -> None:
    class Wider(StrEnum):
        SOMETIMES = "sometimes"

    with pytest.raises(ValueError, match="SOMETIMES"):
        EnumPair(Wider, ProtoToolChoice, "TOOL_CHOICE_")


def test_paths_grow_on_the_way_up_and_the_cause_stays() -> None:
    cause = ValueError("inner")
    with pytest.raises(InvalidField) as refused, at("messages[2]"), at("user"):
        raise InvalidField("content", "A value is required.") from cause
    assert refused.value.violations[0].field == "messages[2].user.content"
    assert str(refused.value) == "messages[2].user.content: A value is required."
    assert refused.value.__cause__ is cause


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_facts_hold_finite_numbers_only(number: float) -> None:
    facts = Struct()
    facts["outer"] = {"inner": [1.0, number]}
    with pytest.raises(InvalidField, match="metadata: A number is not finite"):
        facts_from_proto(facts, "metadata")


def test_facts_keep_null_apart_from_missing() -> None:
    facts = Struct()
    facts.update({"nothing": None, "empty": {}, "list": [True, "x", 1.5]})
    assert facts_from_proto(facts, "metadata") == {"nothing": None, "empty": {}, "list": [True, "x", 1.5]}


@pytest.mark.parametrize("value", [384, [1, 0.5], {"tokens": [8192]}], ids=repr)
def test_whole_numbers_of_facts_come_back_as_integers(value: object) -> None:
    assert repr(facts_from_proto(struct_of({"fact": value}), "metadata")) == repr({"fact": value})
