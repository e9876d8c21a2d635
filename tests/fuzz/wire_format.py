"""Encoded messages taken to pieces: each field with its number, wire type and value, and messages in messages.

What is put together again from changed pieces need not be a message any more.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from google.protobuf.descriptor import Descriptor, FieldDescriptor

VARINT, FIXED64, LENGTH, GROUP, END_GROUP, FIXED32 = range(6)
JUNK = -1
"""Bytes that stand between fields and belong to none."""
WIDTHS = {FIXED64: 8, FIXED32: 4}


@dataclass(slots=True)
class Part:
    """A field. Its value is as encoded, without the length; that of a message is its parts."""

    number: int
    wire_type: int
    value: "bytes | list[Part]"
    field: FieldDescriptor | None = None
    length_error: int = 0
    """What is added to the length that is told."""


def varint(number: int) -> bytes:
    groups = []
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*groups, number])


def tag(number: int, wire_type: int) -> bytes:
    return varint(number << 3 | wire_type & 7)


def parts_of(data: bytes, descriptor: Descriptor) -> list[Part]:
    """The parts of a valid message."""
    parts, place = [], 0
    while place < len(data):
        key, place = _read_varint(data, place)
        start, end = _value_at(data, place, key & 7)
        field = descriptor.fields_by_number.get(key >> 3)
        is_message = field is not None and field.message_type is not None
        value = parts_of(data[start:end], field.message_type) if is_message else data[start:end]
        parts.append(Part(key >> 3, key & 7, value, field))
        place = end
    return parts


def _read_varint(data: bytes, place: int) -> tuple[int, int]:
    """The number, and where it ends."""
    number = shift = 0
    while data[place] & 0x80:
        number |= (data[place] & 0x7F) << shift
        shift, place = shift + 7, place + 1
    return number | data[place] << shift, place + 1


def _value_at(data: bytes, place: int, wire_type: int) -> tuple[int, int]:
    """Where the value begins, behind its length, and where it ends."""
    if wire_type == LENGTH:
        length, place = _read_varint(data, place)
        return place, place + length
    return place, _read_varint(data, place)[1] if wire_type == VARINT else place + WIDTHS[wire_type]


def encoded(parts: list[Part]) -> bytes:
    return b"".join(map(_encoded_part, parts))


def _encoded_part(part: Part) -> bytes:
    value = part.value if isinstance(part.value, bytes) else encoded(part.value)
    if part.wire_type == JUNK:
        return value
    before, behind = tag(part.number, part.wire_type), b""
    if part.wire_type == LENGTH:
        before += varint(max(0, len(value) + part.length_error))
    elif part.wire_type == GROUP:
        behind = tag(part.number, END_GROUP)
    return before + value + behind


def levels(parts: list[Part]) -> Iterator[list[Part]]:
    """The parts of a message, and those of each message in it."""
    yield parts
    for part in parts:
        if isinstance(part.value, list):
            yield from levels(part.value)
