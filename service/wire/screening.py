"""What is refused before a request is read: fields that this build doesn't know, and too many elements."""

import sys
from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from service.errors import MessageTooLarge, UnknownField, join_path, too_many_tokens

TOKEN_IDS = "inferwire.v1.DetokenizeRequest.token_ids"
"""A list of numbers that is read at once, and has a limit of its own."""


def screen(message: Message, max_elements: int, max_token_ids: int = sys.maxsize) -> None:
    """Raises UnknownField for a field that the contract of this build doesn't have: nothing is silently ignored.

    Raises MessageTooLarge where the lists and maps of the message, all together, have more elements than the limit. A
    few megabytes may hold millions, and reading those would take everybody's time.
    """
    _Screening(max_elements, max_token_ids).look_through(message, "")


class _Screening:
    def __init__(self, max_elements: int, max_token_ids: int) -> None:
        self._limit = max_elements
        self._max_token_ids = max_token_ids
        self._left = max_elements

    def look_through(self, message: Message, path: str) -> None:
        for unknown in UnknownFieldSet(message):  # type: ignore[attr-defined]
            raise UnknownField(path, f"The field number {unknown.field_number} is unknown to this server.")
        for field, value in message.ListFields():
            here = join_path(path, field.name)
            if field.full_name == TOKEN_IDS:
                self._check_token_ids(len(value), here)
            elif field.is_repeated:
                self._count(len(value), here)
                for place, item in _messages(field, value):
                    self.look_through(item, here + place)
            elif field.message_type:
                self.look_through(value, here)

    def _check_token_ids(self, tokens: int, path: str) -> None:
        if tokens > self._max_token_ids:
            raise too_many_tokens(path, tokens, self._max_token_ids)

    def _count(self, elements: int, path: str) -> None:
        self._left -= elements
        if self._left < 0:
            raise MessageTooLarge(
                path,
                f"With this list the request has more than {self._limit} elements in its lists and maps.",
                metadata={"elements": str(self._limit - self._left), "limit": str(self._limit)},
            )


def _messages(field: FieldDescriptor, values: Any) -> Iterator[tuple[str, Message]]:
    """Those among the elements of a list or map that are messages, each with its place."""
    if field.message_type is None:
        return
    if not field.message_type.GetOptions().map_entry:
        yield from ((f"[{index}]", item) for index, item in enumerate(values))
    elif field.message_type.fields_by_name["value"].message_type:
        yield from ((f"[{key}]", item) for key, item in values.items())
