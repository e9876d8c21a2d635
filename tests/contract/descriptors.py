"""The contract as the compiler sees it, comments included."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module, resources
from pathlib import Path

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from grpc_tools import protoc

PACKAGE = "inferwire.v1"
SOURCES = Path(__file__).parents[2] / "protos"


@dataclass(frozen=True)
class Declared:
    """Something that the contract declares: its kind, its name without the package, and the comment before it."""

    kind: str
    name: str
    comment: str


@cache
def files() -> tuple[FileDescriptorProto, ...]:
    """The package's files, compiled with the positions of comments."""
    sources = sorted(str(path) for path in SOURCES.glob("inferwire/**/*.proto"))
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "contract.binpb"
        includes = [f"--proto_path={SOURCES}", f"--proto_path={resources.files('grpc_tools') / '_proto'}"]
        failed = protoc.main(["protoc", *includes, "--include_source_info", f"--descriptor_set_out={output}", *sources])
        if failed:
            raise RuntimeError("The contract doesn't compile.")
        return tuple(FileDescriptorSet.FromString(output.read_bytes()).file)


@cache
def declared() -> tuple[Declared, ...]:
    return tuple(item for file in files() for item in _declared_in(file))


def _declared_in(file: FileDescriptorProto) -> Iterator[Declared]:
    comments = {tuple(at.path): at.leading_comments.strip() for at in file.source_code_info.location}
    for message, path in _numbered(file, "message_type"):
        yield from _declared_in_message(message, path, comments)
    for enum, path in _numbered(file, "enum_type"):
        yield Declared("enum", enum.name, comments.get(path, ""))
        for value, at in _numbered(enum, "value", path):
            yield Declared("value", f"{enum.name}.{value.name}", comments.get(at, ""))
    for service, path in _numbered(file, "service"):
        yield Declared("service", service.name, comments.get(path, ""))
        for method, at in _numbered(service, "method", path):
            yield Declared("rpc", f"{service.name}.{method.name}", comments.get(at, ""))


def _declared_in_message(message, path, comments) -> Iterator[Declared]:
    yield Declared("message", message.name, comments.get(path, ""))
    for field, at in _numbered(message, "field", path):
        yield Declared("field", f"{message.name}.{field.name}", comments.get(at, ""))
    for oneof, at in _numbered(message, "oneof_decl", path):
        if not oneof.name.startswith("_"):  # the compiler's own, one for each `optional`
            yield Declared("oneof", f"{message.name}.{oneof.name}", comments.get(at, ""))


def _numbered(parent, field: str, path: tuple[int, ...] = ()):
    """The children in `field`, each with its path in the compiler's source info."""
    number = parent.DESCRIPTOR.fields_by_name[field].number
    return [(child, (*path, number, index)) for index, child in enumerate(getattr(parent, field))]


def generated_files() -> list[FileDescriptor]:
    """The package's files as the generated code knows them."""
    return [import_module(file.name.replace("/", ".").replace(".proto", "_pb2")).DESCRIPTOR for file in files()]


def messages() -> list[Descriptor]:
    return [message for file in generated_files() for message in file.message_types_by_name.values()]


def enums() -> list[EnumDescriptor]:
    return [enum for file in generated_files() for enum in file.enum_types_by_name.values()]
