"""Images in a prompt: where they stand in texts, and how a chat template is told of them."""

import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, TypeAlias

from service.errors import InvalidField, UnsupportedByModel
from service.prompts.tokenizer import Segment

# Random, so that nobody can write one.
PLACE = f"\u2e24{secrets.token_hex(8)}\u2e25"
"""What stands in a turn's content for an image."""
PROBE = "question"
ITEM_OF_IMAGE: Mapping[str, str] = {"type": "image"}

Say: TypeAlias = Callable[[str], str]
Content: TypeAlias = str | Sequence[Mapping[str, str]]
Messages: TypeAlias = Sequence[Mapping[str, Any]]
BEFORE: Mapping[str, Messages] = {
    "user": [],
    "tool": [{"role": "user", "content": "words"}, {"role": "assistant", "content": "words"}],
}


def pieces(content: str) -> Iterator[str]:
    """Its texts, none of them empty, and the places between them."""
    for number, text in enumerate(content.split(PLACE)):
        if number:
            yield PLACE
        if text:
            yield text


def segments(content: str, placeholder: str | None, field: str = "messages") -> list[Segment]:
    """The text of a caller, with `placeholder` for each image; `field` is blamed where there is none."""
    return [
        Segment(_known(placeholder, field), trusted=True) if piece is PLACE else Segment(piece, trusted=False)
        for piece in pieces(content)
    ]


class ContentForms:
    """In which form a chat template takes the content of messages: as a string, or as a list of texts and images.

    `apply` renders messages. `placeholder` is what stands for an image in the model's prompts; None if it isn't known.
    """

    def __init__(self, apply: Callable[[Messages], str], placeholder: str | None = None) -> None:
        self._apply = apply
        self._placeholder = placeholder
        self._known_roles: dict[str, bool] = {}

    def of(self, role: str, content: str, say: Say) -> Content:
        """The content as the template takes it, every text of the caller's said by `say`."""
        if PLACE not in content:
            return say(content) if self._takes_strings else [{"type": "text", "text": say(content)}]
        if self._takes_images_of(role):
            return [
                ITEM_OF_IMAGE if piece is PLACE else {"type": "text", "text": say(piece)} for piece in pieces(content)
            ]
        return "".join(_known(self._placeholder) if piece is PLACE else say(piece) for piece in pieces(content))

    @cached_property
    def _takes_strings(self) -> bool:
        """Also where nothing else is taken either."""
        plain = self._shown([{"role": "user", "content": PROBE}])
        return PROBE in plain or not _is_read(self._shown([{"role": "user", "content": [_text(PROBE)]}]))

    def _takes_images_of(self, role: str) -> bool:
        if role not in self._known_roles:
            before = [
                message if self._takes_strings else {**message, "content": [_text(message["content"])]}
                for message in BEFORE.get(role, [])
            ]
            bare = self._shown([*before, {"role": role, "content": [_text(PROBE)]}])
            shown = self._shown([*before, {"role": role, "content": [ITEM_OF_IMAGE, _text(PROBE)]}])
            self._known_roles[role] = _is_read(shown) and shown != bare
        return self._known_roles[role]

    def _shown(self, messages: Messages) -> str:
        try:
            return self._apply(messages)
        except InvalidField:
            return ""


def _is_read(shown: str) -> bool:
    """Whether the items of a list were shown, rather than left out or printed as they are."""
    return PROBE in shown and not re.search("['\"]type['\"]", shown, re.IGNORECASE)


def _text(text: str) -> Mapping[str, str]:
    return {"type": "text", "text": text}


def _known(placeholder: str | None, field: str = "messages") -> str:
    if placeholder is None:
        raise UnsupportedByModel(field, "The model's prompts have no place for an image there.")
    return placeholder
