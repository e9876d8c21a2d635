"""Every enum of the contract maps completely to an enum of the api."""

from enum import StrEnum

import pytest

from service.wire.fields import EnumPair
from tests.contract.descriptors import enums
from tests.wire.pairs import wire_modules

WITHOUT_PAIR = {
    "ErrorReason": "Error classes stand for its values; test_errors compares them.",
    "QuantizationType": "No field has it: it names the cases of QuantizationConfig.",
    "ResponseEventType": "Each value is a class of its own: Start, Progress, Complete.",
}


def members_of(pair: EnumPair) -> type[StrEnum]:
    return type(pair.required_from_proto(1, "field"))


# Modules import pairs from each other, so the same pair is found more than once.
PAIRS = {
    members_of(pair).__name__: pair
    for module in wire_modules()
    for pair in vars(module).values()
    if isinstance(pair, EnumPair)
}
PROTO_ENUMS = {enum.name: enum for enum in enums()}


def test_every_enum_has_a_pair_or_a_reason_to_have_none() -> None:
    assert set(PAIRS) | set(WITHOUT_PAIR) == set(PROTO_ENUMS)
    assert set(PAIRS).isdisjoint(WITHOUT_PAIR)


@pytest.mark.parametrize("name", PAIRS)
def test_every_value_maps_to_the_member_of_its_name_and_back(name: str) -> None:
    pair, values = PAIRS[name], PROTO_ENUMS[name].values
    prefix = values[0].name.removesuffix("UNSPECIFIED")
    for value in values[1:]:
        member = pair.required_from_proto(value.number, "field")
        assert prefix + member.name == value.name
        assert pair.to_proto(member) == value.number


@pytest.mark.parametrize("name", PAIRS)
def test_the_api_has_no_members_of_its_own(name: str) -> None:
    assert len(members_of(PAIRS[name])) == len(PROTO_ENUMS[name].values) - 1


@pytest.mark.parametrize("name", PAIRS)
def test_members_are_spelled_like_their_names(name: str) -> None:
    assert [member.value for member in members_of(PAIRS[name])] == [
        member.name.lower() for member in members_of(PAIRS[name])
    ]


@pytest.mark.parametrize("enum", enums(), ids=lambda enum: enum.name)
def test_zero_is_unspecified(enum) -> None:
    assert enum.values_by_number[0].name.endswith("_UNSPECIFIED")
