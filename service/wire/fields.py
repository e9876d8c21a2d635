"""What all converters share: field paths for errors, enums by name."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from typing import Any, Generic, Protocol, TypeVar

from google.protobuf import json_format
from google.protobuf.message import Message as ProtoMessage
from google.protobuf.struct_pb2 import Struct
from pydantic import BaseModel, ValidationError

from service.errors import FieldViolation, Findings, InvalidField, RequestError, UnknownField

Member = TypeVar("Member", bound=StrEnum)
Model = TypeVar("Model", bound=BaseModel)
Decoded = TypeVar("Decoded")
Value = TypeVar("Value")
Encoded = TypeVar("Encoded")

# More wrong items than fit into an answer: looking for further ones would only take everybody's time.
MOST_TOLD = 100


class EnumWrapper(Protocol):
    """The part of a generated enum that the mapping needs."""

    def Value(self, name: Any) -> Any: ...

    def items(self) -> Any: ...


class EnumPair(Generic[Member]):
    """The mapping of an api enum to its proto enum, by name; None maps to `_UNSPECIFIED`, which is 0."""

    def __init__(self, members: type[Member], proto_enum: EnumWrapper, prefix: str) -> None:
        self._to_proto = {member: int(proto_enum.Value(prefix + member.name)) for member in members}
        self._from_proto = {number: member for member, number in self._to_proto.items()}

    def from_proto(self, number: int, field: str) -> Member | None:
        if number == 0:
            return None
        try:
            return self._from_proto[number]
        except KeyError:
            raise UnknownField(field, f"The value {number} is unknown to this server.") from None

    def required_from_proto(self, number: int, field: str) -> Member:
        member = self.from_proto(number, field)
        if member is None:
            raise InvalidField(field, "A value is required.")
        return member

    def known_from_proto(self, numbers: Iterable[int]) -> tuple[Member, ...]:
        """The values that this build knows."""
        return tuple(self._from_proto[number] for number in numbers if number in self._from_proto)

    def to_proto(self, member: Member | None) -> Any:
        return 0 if member is None else self._to_proto[member]


@contextmanager
def at(path: str) -> Iterator[None]:
    """Extends the field paths of request errors raised inside by the field that is being read."""
    try:
        yield
    except RequestError as error:
        raise error.under(path) from error.__cause__


def build(shape: type[Model], **values: Any) -> Model:
    """Makes an api model; what its own checks refuse becomes InvalidField with paths of the same names."""
    try:
        return shape(**values)
    except ValidationError as error:
        problems = error.errors(include_url=False)[:MOST_TOLD]
        raise InvalidField.of([_violation(shape, problem) for problem in problems]) from None


def _violation(shape: type[BaseModel], problem: Any) -> FieldViolation:
    path = ""
    for step in problem["loc"]:
        if isinstance(step, int):
            path += f"[{step}]"
        elif not path and step in shape.model_fields:
            path = step
    return FieldViolation(path, f"{problem['msg']}.")


def require(message: ProtoMessage, field: str) -> Any:
    """The sub-message `field`, which must be set."""
    if not message.HasField(field):
        raise InvalidField(field, "A value is required.")
    return getattr(message, field)


def optional(message: ProtoMessage, field: str) -> Any:
    """The value of a field that tracks presence, or None when it is unset."""
    return getattr(message, field) if message.HasField(field) else None


def chosen(message: ProtoMessage, oneof: str) -> str:
    """The name of the member of `oneof` that is set; one must be."""
    name: str | None = message.WhichOneof(oneof)
    if name is None:
        members = message.DESCRIPTOR.oneofs_by_name[oneof].fields
        raise InvalidField("", "One of " + ", ".join(field.name for field in members) + " is required.")
    return name


def each(messages: Iterable[Any], field: str, decode: Callable[[Any], Decoded]) -> tuple[Decoded, ...]:
    """Decodes a repeated field; errors name the index, and tell of all items, or of the first that are many enough."""
    decoded = []
    findings = Findings()
    for index, message in enumerate(messages):
        if len(findings.errors) == MOST_TOLD:
            break
        with findings.noting(), at(f"{field}[{index}]"):
            decoded.append(decode(message))
    findings.raise_all()
    return tuple(decoded)


def gathered(**decoders: Callable[[], Any]) -> dict[str, Any]:
    """The fields of a message; errors tell of all of them."""
    decoded = {}
    findings = Findings()
    for field, decode in decoders.items():
        with findings.noting():
            decoded[field] = decode()
    findings.raise_all()
    return decoded


def maybe(message: Any, field: str, decode: Callable[[Any], Decoded]) -> Decoded | None:
    """Decodes a sub-message if it is set; errors name the field."""
    if not message.HasField(field):
        return None
    with at(field):
        return decode(getattr(message, field))


def given(encode: Callable[[Value], Encoded], value: Value | None) -> Encoded | None:
    """Encodes a value if there is one."""
    return None if value is None else encode(value)


def facts_from_proto(message: Struct, field: str) -> dict[str, Any]:
    """A Struct as Python values."""
    try:
        values = json_format.MessageToDict(message)
    except ValueError:
        raise InvalidField(field, "A number is not finite.") from None
    return {name: _whole(value) for name, value in values.items()}


def _whole(value: Any) -> Any:
    """All numbers of a Struct are doubles; whole ones come back as the integers that they nearly always were."""
    match value:
        case float() if value.is_integer():
            return int(value)
        case dict():
            return {name: _whole(item) for name, item in value.items()}
        case list():
            return [_whole(item) for item in value]
        case _:
            return value


def struct_of(facts: Mapping[str, Any]) -> Struct:
    struct = Struct()
    struct.update(facts)
    return struct
