"""Changes to a request: to its bytes, to the fields of its encoding, to its messages. `chance` decides each."""

from collections.abc import Callable
from random import Random
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from tests.fuzz import hostile
from tests.fuzz.wire_format import (
    FIXED32,
    FIXED64,
    GROUP,
    JUNK,
    LENGTH,
    VARINT,
    Part,
    encoded,
    levels,
    parts_of,
    tag,
    varint,
)

SEVERAL = 3
"""The most changes to one request. With more, one would hide the others."""


def mutate_bytes(data: bytes, chance: Random) -> bytes:
    """Bytes changed, cut, doubled, or put in from elsewhere."""
    made = bytearray(data)
    for _ in range(chance.randint(1, SEVERAL)):
        place = chance.randint(0, len(made))
        match chance.randrange(5):
            case 0 if made:
                made[place % len(made)] = chance.randrange(256)
            case 1:
                del made[place : place + chance.randint(1, 8)]
            case 2:
                made[place:place] = chance.randbytes(chance.randint(1, 8))
            case 3:
                made += made[place:]
            case _:
                made = made[:place]
    return bytes(made)


def mutate_fields(message: Message, chance: Random) -> bytes:
    """The encoded message, with fields changed anywhere in it."""
    parts = parts_of(message.SerializeToString(), message.DESCRIPTOR)
    for _ in range(chance.randint(1, SEVERAL)):
        level = chance.choice(list(levels(parts)))
        if not level:
            _put_in(level, 0, chance)
            continue
        change = chance.choice(FIELD_CHANGES)
        change(level, chance.randrange(len(level)), chance)
    return encoded(parts)


def _drop(parts: list[Part], place: int, chance: Random) -> None:
    del parts[place]


def _repeat(parts: list[Part], place: int, chance: Random) -> None:
    """Elsewhere, so that of a field that isn't repeated another value may be the last."""
    there = chance.randint(0, len(parts))
    parts[there:there] = [parts[place]] * chance.choice((1, 1, 2, 30, 150))


def _swap(parts: list[Part], place: int, chance: Random) -> None:
    """Two fields exchange their values."""
    one, other = parts[place], chance.choice(parts)
    one.value, other.value = other.value, one.value


def _shuffle(parts: list[Part], place: int, chance: Random) -> None:
    chance.shuffle(parts)


def _renumber(parts: list[Part], place: int, chance: Random) -> None:
    parts[place].number = chance.choice((*hostile.FIELD_NUMBERS, parts[place].number + 1))


def _retype(parts: list[Part], place: int, chance: Random) -> None:
    parts[place].wire_type = chance.randrange(8)


def _put_in(parts: list[Part], place: int, chance: Random) -> None:
    """A field that the contract doesn't have, or has of another type."""
    wire_type = chance.choice((VARINT, FIXED64, LENGTH, GROUP, FIXED32))
    value = b"" if wire_type == GROUP else _hostile_value(wire_type, chance)
    parts.insert(place, Part(chance.choice(hostile.FIELD_NUMBERS), wire_type, value))


def _put_junk(parts: list[Part], place: int, chance: Random) -> None:
    parts.insert(place, Part(0, JUNK, chance.randbytes(chance.randint(1, 6))))


def _replace(parts: list[Part], place: int, chance: Random) -> None:
    part = parts[place]
    part.value = _hostile_value(part.wire_type, chance)


def _misjudge_length(parts: list[Part], place: int, chance: Random) -> None:
    parts[place].length_error = chance.choice(hostile.LENGTH_ERRORS)


def _nest(parts: list[Part], place: int, chance: Random) -> None:
    """The field in itself, again and again."""
    part = parts[place]
    value = part.value if isinstance(part.value, bytes) else encoded(part.value)
    for _ in range(chance.choice(hostile.DEPTHS)):
        value = tag(part.number, LENGTH) + varint(len(value)) + value
    parts[place] = Part(part.number, LENGTH, value)


def _nest_groups(parts: list[Part], place: int, chance: Random) -> None:
    number, depth = parts[place].number, chance.choice(hostile.DEPTHS)
    open_groups = tag(number, GROUP) * depth
    closed = chance.choice((open_groups, tag(number, 4) * depth, b""))
    parts.insert(place, Part(0, JUNK, open_groups + closed))


FIELD_CHANGES: tuple[Callable[[list[Part], int, Random], None], ...] = (
    _drop,
    _repeat,
    _swap,
    _shuffle,
    _renumber,
    _retype,
    _put_in,
    _put_junk,
    *[_replace] * 6,
    _misjudge_length,
    _nest,
    _nest_groups,
)


def _hostile_value(wire_type: int, chance: Random) -> bytes:
    match wire_type:
        case 0:
            return chance.choice(hostile.VARINTS)
        case 1:
            return chance.choice(hostile.FIXED64S)
        case 5:
            return chance.choice(hostile.FIXED32S)
        case _:
            return _hostile_bytes(chance)


def _hostile_bytes(chance: Random) -> bytes:
    match chance.randrange(4):
        case 0:
            return b""
        case 1:
            return chance.choice(hostile.BYTES)
        case 2:
            return chance.choice(hostile.TEXTS).encode()
        case _:
            return chance.randbytes(chance.choice((1, 4, 8, 40)))


def mutate_messages(message: Message, chance: Random) -> bytes:
    """The message, with fields set to values that they can hold and nobody expects."""
    made = type(message)()
    made.CopyFrom(message)
    for _ in range(chance.randint(1, SEVERAL)):
        _set_any(chance.choice(list(messages_in(made))), chance)
    return made.SerializeToString()


def messages_in(message: Message) -> list[Message]:
    """A message and all that it holds; those of maps from text, such as a Struct's, too."""
    found = [message]
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if _is_map(field):
            held = list(value.values()) if field.message_type.fields_by_name["value"].message_type else []
        else:
            held = list(value) if field.is_repeated else [value]
        found += [inner for one in held for inner in messages_in(one)]
    return found


def _set_any(message: Message, chance: Random) -> None:
    fields = message.DESCRIPTOR.fields
    if not fields:
        return
    field = chance.choice(fields)
    if chance.random() < 0.1:
        message.ClearField(field.name)
    elif _is_map(field):
        _set_entry(getattr(message, field.name), field.message_type.fields_by_name, chance)
    elif field.message_type is not None:
        inner = getattr(message, field.name).add() if field.is_repeated else getattr(message, field.name)
        inner.SetInParent()
        if chance.random() < 0.7:
            _set_any(inner, chance)
    elif field.is_repeated:
        getattr(message, field.name).extend([_hostile(field, chance)] * chance.choice((1, 1, 2, 20, 2000, 40_000)))
    else:
        setattr(message, field.name, _hostile(field, chance))


def _set_entry(entries: Any, fields: Any, chance: Random) -> None:
    key = _hostile(fields["key"], chance)
    if fields["value"].message_type is None:
        entries[key] = _hostile(fields["value"], chance)
    else:
        _set_any(entries[key], chance)


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


BOUNDS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_ENUM: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}


def _hostile(field: FieldDescriptor, chance: Random) -> Any:
    """A value that the field can hold."""
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING if field.type == FieldDescriptor.TYPE_BYTES:
            return _hostile_bytes(chance)
        case FieldDescriptor.CPPTYPE_STRING:
            return chance.choice(hostile.TEXTS)
        case FieldDescriptor.CPPTYPE_FLOAT | FieldDescriptor.CPPTYPE_DOUBLE:
            return chance.choice(hostile.FLOATS)
        case FieldDescriptor.CPPTYPE_BOOL:
            return chance.random() < 0.5
        case cpp_type:
            least, most = BOUNDS[cpp_type]
            return chance.choice([number for number in hostile.INTEGERS if least <= number <= most])
