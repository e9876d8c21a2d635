"""What the contract declares: services, messages and enums with their comments, in the order of their files."""

import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
    MethodOptions,
    ServiceDescriptorProto,
)
from google.rpc.code_pb2 import Code

SOURCES = Path(__file__).resolve().parents[1]
PACKAGE = "inferwire.v1"
SYNTAX = (12,)  # where the comment of a whole file stands
CODES = tuple(value.name for value in Code.DESCRIPTOR.values if value.number)
CODE = re.compile(rf"\b({'|'.join(CODES)})\b")
REASONS, REASON_PREFIX = "ErrorReason", "ERROR_REASON_"

Path_ = tuple[int, ...]
Comments = dict[Path_, str]


@dataclass(frozen=True)
class Type:
    """`name` is without the package; `known` says whether the page describes it."""

    name: str
    known: bool = False


@dataclass(frozen=True)
class Field:
    name: str
    number: int
    type: Type
    key: Type | None
    """Of a map."""
    presence: str
    default: str
    comment: str


@dataclass(frozen=True)
class Oneof:
    """Fields of which one is set at most; without a name, a field that belongs to no such group."""

    name: str
    comment: str
    fields: Sequence[Field]


@dataclass(frozen=True)
class Message:
    name: str
    comment: str
    groups: Sequence[Oneof]

    @property
    def fields(self) -> list[Field]:
        return [field for group in self.groups for field in group.fields]


@dataclass(frozen=True)
class Value:
    name: str
    number: int
    comment: str


@dataclass(frozen=True)
class Enum:
    name: str
    comment: str
    values: Sequence[Value]


@dataclass(frozen=True)
class Method:
    name: str
    comment: str
    request: Type
    response: Type
    request_stream: bool
    response_stream: bool
    idempotency: str

    @property
    def codes(self) -> list[str]:
        """The statuses that its comment names."""
        return codes_in(self.comment)


@dataclass(frozen=True)
class Service:
    name: str
    comment: str
    methods: Sequence[Method]

    @property
    def codes(self) -> list[str]:
        return codes_in(self.comment)


@dataclass(frozen=True)
class File:
    name: str
    comment: str
    services: Sequence[Service]
    messages: Sequence[Message]
    enums: Sequence[Enum]


@dataclass(frozen=True)
class Contract:
    package: str
    files: Sequence[File]

    @property
    def services(self) -> list[Service]:
        """Those with most to say first."""
        return sorted((service for file in self.files for service in file.services), key=lambda s: -len(s.methods))

    @property
    def messages(self) -> list[Message]:
        return [message for file in self.files for message in file.messages]

    @property
    def enums(self) -> list[Enum]:
        return [enum for file in self.files for enum in file.enums]

    @property
    def reasons(self) -> dict[str, list[Value]]:
        """The reasons of errors, by the status that opens the comment of each."""
        (table,) = (enum for enum in self.enums if enum.name == REASONS)
        found: dict[str, list[Value]] = {}
        for value in table.values:
            code = value.comment.partition(":")[0]
            if code in CODES:
                found.setdefault(code, []).append(value)
        return found

    def users_of(self, name: str) -> list[str]:
        """What refers to a message or an enum."""
        fields = [m.name for m in self.messages if any(name in (f.type.name, f.key and f.key.name) for f in m.fields)]
        methods = [
            f"{service.name}.{method.name}"
            for service in self.services
            for method in service.methods
            if name in (method.request.name, method.response.name)
        ]
        return methods + fields


def codes_in(comment: str) -> list[str]:
    return list(dict.fromkeys(CODE.findall(comment)))


def read_contract(sources: Path = SOURCES) -> Contract:
    buf = Path(sys.executable).with_name("buf")
    built = subprocess.run([buf, "build", sources, "-o", "-#format=binpb"], stdout=subprocess.PIPE, check=True)
    files = [file for file in FileDescriptorSet.FromString(built.stdout).file if file.package == PACKAGE]
    files.sort(key=lambda file: file.name)
    return Contract(PACKAGE, [_Reader(file, _zeros(files)).file() for file in files])


def _zeros(files: Sequence[FileDescriptorProto]) -> dict[str, str]:
    """The first value of each enum, which a field has that nobody has set."""
    return {f".{file.package}.{enum.name}": enum.value[0].name for file in files for enum in file.enum_type}


class _Reader:
    """Reads one file."""

    def __init__(self, file: FileDescriptorProto, zeros: dict[str, str]) -> None:
        self._file = file
        self._zeros = zeros
        self._comments: Comments = {
            tuple(at.path): _unindented(at.leading_comments) for at in file.source_code_info.location
        }

    def file(self) -> File:
        return File(
            self._file.name,
            self._comments.get(SYNTAX, ""),
            [self._service(service, path) for service, path in _children(self._file, "service")],
            [self._message(message, path) for message, path in _children(self._file, "message_type")],
            [self._enum(enum, path) for enum, path in _children(self._file, "enum_type")],
        )

    def _comment(self, path: Path_) -> str:
        return self._comments.get(path, "")

    def _service(self, service: ServiceDescriptorProto, path: Path_) -> Service:
        methods = [self._method(method, at) for method, at in _children(service, "method", path)]
        return Service(service.name, self._comment(path), methods)

    def _method(self, method: MethodDescriptorProto, path: Path_) -> Method:
        return Method(
            method.name,
            self._comment(path),
            _type(method.input_type),
            _type(method.output_type),
            method.client_streaming,
            method.server_streaming,
            MethodOptions.IdempotencyLevel.Name(method.options.idempotency_level),
        )

    def _enum(self, enum: EnumDescriptorProto, path: Path_) -> Enum:
        values = [Value(value.name, value.number, self._comment(at)) for value, at in _children(enum, "value", path)]
        return Enum(enum.name, self._comment(path), values)

    def _message(self, message: DescriptorProto, path: Path_) -> Message:
        return Message(message.name, self._comment(path), list(self._groups(message, path)))

    def _groups(self, message: DescriptorProto, path: Path_) -> Iterator[Oneof]:
        """In the order of the fields; the members of a oneof stand together."""
        oneofs = list(_children(message, "oneof_decl", path))
        fields = list(_children(message, "field", path))
        seen: set[int] = set()
        for field, at in fields:
            if not _in_oneof(field):
                yield Oneof("", "", [self._field(field, at, message)])
            elif field.oneof_index not in seen:
                seen.add(field.oneof_index)
                oneof, where = oneofs[field.oneof_index]
                members = [(f, a) for f, a in fields if _in_oneof(f) and f.oneof_index == field.oneof_index]
                yield Oneof(oneof.name, self._comment(where), [self._field(f, a, message) for f, a in members])

    def _field(self, field: FieldDescriptorProto, path: Path_, message: DescriptorProto) -> Field:
        entries = (inner for inner in message.nested_type if inner.options.map_entry)
        entry = next((entry for entry in entries if field.type_name.endswith(f".{message.name}.{entry.name}")), None)
        key, value = entry.field if entry else (None, field)
        return Field(
            field.name,
            field.number,
            _field_type(value),
            key and _field_type(key),
            *self._presence(field, is_map=entry is not None),
            self._comment(path),
        )

    def _presence(self, field: FieldDescriptorProto, *, is_map: bool) -> tuple[str, str]:
        """In a word, and what a field is that nobody has set."""
        if is_map:
            return "map", "empty"
        if field.label == FieldDescriptorProto.LABEL_REPEATED:
            return "list", "empty"
        if _in_oneof(field):
            return "alternative", "unset"
        if field.proto3_optional or field.type == FieldDescriptorProto.TYPE_MESSAGE:
            return "optional", "unset"
        return "", self._default(field)

    def _default(self, field: FieldDescriptorProto) -> str:
        match field.type:
            case FieldDescriptorProto.TYPE_ENUM:
                return self._zeros[field.type_name]
            case FieldDescriptorProto.TYPE_STRING | FieldDescriptorProto.TYPE_BYTES:
                return "empty"
            case FieldDescriptorProto.TYPE_BOOL:
                return "false"
            case _:
                return "0"


def _children(parent: Any, field: str, path: Path_ = ()) -> Iterator[tuple[Any, Path_]]:
    """Each with its path in the compiler's source info."""
    number = parent.DESCRIPTOR.fields_by_name[field].number
    for index, child in enumerate(getattr(parent, field)):
        yield child, (*path, number, index)


def _in_oneof(field: FieldDescriptorProto) -> bool:
    return field.HasField("oneof_index") and not field.proto3_optional


def _field_type(field: FieldDescriptorProto) -> Type:
    if field.type_name:
        return _type(field.type_name)
    return Type(FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower())


def _type(full_name: str) -> Type:
    name = full_name.removeprefix(".")
    own = name.removeprefix(f"{PACKAGE}.")
    return Type(own, known=own != name)


def _unindented(comment: str) -> str:
    return "\n".join(line.removeprefix(" ").rstrip() for line in comment.splitlines()).strip()
