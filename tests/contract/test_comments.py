"""The contract explains itself: everything in it has a comment, and it needs nothing but protobuf's own types."""

import pytest

from tests.contract.descriptors import PACKAGE, declared, files


@pytest.mark.parametrize("item", declared(), ids=lambda item: item.name)
def test_everything_declared_has_a_comment(item) -> None:
    assert item.comment


@pytest.mark.parametrize("kind", ["service", "rpc", "message", "field", "oneof", "enum", "value"])
def test_every_kind_of_declaration_is_looked_at(kind: str) -> None:
    assert any(item.kind == kind for item in declared())


@pytest.mark.parametrize("file", files(), ids=lambda file: file.name)
def test_a_file_belongs_to_the_package_and_imports_only_protobuf(file) -> None:
    assert file.package == PACKAGE
    assert [name for name in file.dependency if not name.startswith(("google/protobuf/", "inferwire/v1/"))] == []
