"""The contract explains itself: everything in it has a comment, and it needs little beside itself."""

import pytest

from tests.contract.descriptors import PACKAGE, SOURCES, declared, files


@pytest.mark.parametrize("item", declared(), ids=lambda item: item.name)
def test_everything_declared_has_a_comment(item) -> None:
    assert item.comment


@pytest.mark.parametrize("kind", ["service", "rpc", "message", "field", "oneof", "enum", "value"])
def test_every_kind_of_declaration_is_looked_at(kind: str) -> None:
    assert any(item.kind == kind for item in declared())


@pytest.mark.parametrize("file", files(), ids=lambda file: file.name)
def test_a_file_belongs_to_the_package_and_imports_only_what_lies_beside_it(file) -> None:
    assert file.package == PACKAGE
    elsewhere = [name for name in file.dependency if not name.startswith(("google/protobuf/", "inferwire/v1/"))]
    assert elsewhere in ([], ["google/api/annotations.proto"])
    assert all((SOURCES / name).is_file() for name in elsewhere)
