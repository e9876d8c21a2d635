"""No field of the contract gets lost between protobuf and the api.

Each message that service/wire converts is filled in every way its oneofs allow, read, written again and compared; a
field counts as mapped once its value has come through.
"""

from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from itertools import chain
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from service.errors import RequestError
from tests.contract.descriptors import PACKAGE, messages
from tests.strategies.protos import own_oneof
from tests.wire.pairs import PAIRS, Pair

# No converter: they hold one or two values, or shapes that have converters, and the servicer reads them on the spot.
READ_BY_THE_SERVICER = {
    "DrainRequest",
    "DrainResponse",
    "GetLoadRequest",
    "GetModelRequest",
    "GetModelResponse",
    "ItemError",
    "ListModelsRequest",
    "ListModelsResponse",
    "RegisterModelRequest",
    "RegisterModelResponse",
    "StreamEmbeddingsRequest",
    "StreamEmbeddingsResponse",
    "UnregisterModelRequest",
    "UnregisterModelResponse",
}

SCALARS: dict[int, list[Any]] = {
    FieldDescriptor.CPPTYPE_BOOL: [True],
    FieldDescriptor.CPPTYPE_DOUBLE: [0.5],
    FieldDescriptor.CPPTYPE_FLOAT: [0.5],
    FieldDescriptor.CPPTYPE_INT32: [1],
    FieldDescriptor.CPPTYPE_INT64: [1],
    FieldDescriptor.CPPTYPE_STRING: ["x"],
}


def filled(descriptor: Descriptor, **pinned: Any) -> Iterator[Message]:
    """Messages with all fields set, so many that each member of each oneof is set in one of them."""
    slots = [slot for slot in slots_of(descriptor) if slot[0][0] not in pinned]
    for number in range(max(map(len, slots), default=1)):
        chosen = dict(slot[number % len(slot)] for slot in slots)
        yield GetMessageClass(descriptor)(**chosen, **pinned)


def slots_of(descriptor: Descriptor) -> list[list[tuple[str, Any]]]:
    """For each oneof and each field outside of them, the alternatives to fill it with."""
    groups = [oneof.fields for oneof in descriptor.oneofs if own_oneof(oneof.fields[0])]
    groups += [[field] for field in descriptor.fields if own_oneof(field) is None]
    return [[(field.name, value) for field in group for value in values(field)] for group in groups]


def values(field: FieldDescriptor) -> list[Any]:
    if field.message_type is None:
        single = scalars(field)
    elif field.message_type.GetOptions().map_entry:
        key, value = (values(field.message_type.fields_by_name[name])[0] for name in ("key", "value"))
        return [{key: value}]
    else:
        single = list(filled_types(field.message_type))
    return [[value] for value in single] if field.is_repeated else single


def scalars(field: FieldDescriptor) -> list[Any]:
    if field.enum_type is not None:
        return [value.number for value in field.enum_type.values if value.number]
    return [b"x"] if field.type == FieldDescriptor.TYPE_BYTES else SCALARS[field.cpp_type]


def filled_types(descriptor: Descriptor) -> list[Any]:
    match descriptor.full_name:
        case "google.protobuf.Struct":
            return [{"x": "x"}]
        case "google.protobuf.Duration" | "google.protobuf.Timestamp":
            return [{"seconds": 1, "nanos": 500_000_000}]
        case _:
            return list(filled(descriptor))


def samples(descriptor: Descriptor) -> Iterator[Message]:
    """A stream's message carries different fields by the type of its event, so it is filled for each type."""
    event = descriptor.fields_by_name.get("event")
    event_type = (event.message_type if event else descriptor).fields_by_name.get("event_type")
    if event_type is None:
        return filled(descriptor)
    if event is None:
        return chain.from_iterable(filled(descriptor, event_type=number) for number in scalars(event_type))
    events = chain.from_iterable(filled(event.message_type, event_type=number) for number in scalars(event_type))
    return chain.from_iterable(filled(descriptor, event=inner) for inner in events)


def came_through(pair: Pair, message: Message) -> Iterator[str]:
    """The fields that survive; none of a message that is refused, such as one with an enum value not yet mapped."""
    with suppress(RequestError):
        yield from survivors(message, pair.to_proto(pair.from_proto(message)))


def survivors(before: Message, after: Message) -> Iterator[str]:
    """A field survives with its value, one of our messages by being there: its fields are looked at themselves."""
    for field, value in before.ListFields():
        again = getattr(after, field.name)
        if not is_ours(field.message_type):
            yield from [field.full_name] if value == again else []
        elif field.is_repeated:
            yield from chain([field.full_name] if again else [], *map(survivors, value, again))
        elif after.HasField(field.name):
            yield from chain([field.full_name], survivors(value, again))


def is_ours(message: Descriptor | None) -> bool:
    return message is not None and message.file.package == PACKAGE and not message.GetOptions().map_entry


@cache
def mapped() -> set[str]:
    return {
        name for pair in PAIRS for message in samples(pair.proto.DESCRIPTOR) for name in came_through(pair, message)
    }


def reached(descriptor: Descriptor) -> set[str]:
    """The names of a message and of all that it holds."""
    inner = (field.message_type for field in descriptor.fields)
    return {descriptor.name}.union(*map(reached, filter(is_ours, inner)))


CONVERTED = set().union(*(reached(pair.proto.DESCRIPTOR) for pair in PAIRS if is_ours(pair.proto.DESCRIPTOR)))
FIELDS = [field for message in messages() if message.name in CONVERTED for field in message.fields]


def test_every_message_has_a_converter_or_is_read_by_the_servicer() -> None:
    everything = {message.name for message in messages()}
    assert everything - CONVERTED == READ_BY_THE_SERVICER


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.full_name.removeprefix(f"{PACKAGE}."))
def test_a_field_comes_through(field: FieldDescriptor) -> None:
    assert field.full_name in mapped()
