"""The table of reasons, the error classes and the status codes say the same."""

from collections.abc import Iterator

import pytest

from inferwire.v1.errors_pb2 import ErrorReason
from service.errors import InferwireError
from service.wire.status import CODES
from tests.contract.descriptors import declared

PREFIX = "ERROR_REASON_"
REASONS = [name.removeprefix(PREFIX) for name, number in ErrorReason.items() if number]


def error_classes(parent: type[InferwireError] = InferwireError) -> Iterator[type[InferwireError]]:
    for child in parent.__subclasses__():
        if "reason" in vars(child):
            yield child
        yield from error_classes(child)


def code_in_comment(reason: str) -> str:
    """The code that opens the comment of a reason, as in `INVALID_ARGUMENT: the message ...`."""
    (comment,) = (item.comment for item in declared() if item.name == f"ErrorReason.{PREFIX}{reason}")
    return comment.partition(":")[0]


def test_every_reason_has_exactly_one_error_class() -> None:
    assert sorted(error.reason for error in error_classes()) == sorted(REASONS)


def test_every_error_class_has_a_code() -> None:
    assert set(CODES) == set(error_classes())


@pytest.mark.parametrize("error", CODES, ids=lambda error: error.__name__)
def test_the_code_is_the_one_in_the_contract(error: type[InferwireError]) -> None:
    assert CODES[error].name == code_in_comment(error.reason)
