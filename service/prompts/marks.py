"""Marks: what stands for callers' texts while a chat template runs, to tell them from the template's own words."""

import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import TypeAlias

from service.prompts.control_tokens import WORD
from service.prompts.tokenizer import Segment
from service.tool_formats.describing import escaped

# Templates compare these. They stand in every schema, and spell no control token.
SCHEMA_WORDS = frozenset(
    {
        "$defs",
        "$ref",
        "additionalProperties",
        "allOf",
        "anyOf",
        "array",
        "boolean",
        "const",
        "default",
        "description",
        "enum",
        "format",
        "function",
        "integer",
        "items",
        "null",
        "number",
        "object",
        "oneOf",
        "properties",
        "required",
        "string",
        "title",
        "type",
    }
)
END_OF_THOUGHTS = "</think>"
# Printable, as Python escapes other signs in lists, and templates print some.
OPENING, CLOSING = "\u2e22", "\u2e23"
# Random, so that nobody can write a mark; of digits, which have no upper case.
NONCE = f"{secrets.randbelow(10**16):016}"
MARK = re.compile(f"{OPENING}{NONCE}:(\\d+){CLOSING}")
# Different ways to read the same beginning of a prompt; there is hardly ever more than one.
MAX_WAYS = 16

Shown: TypeAlias = tuple["Shown", str] | None
"""Texts as they were shown, the last one first."""


@dataclass(frozen=True, slots=True)
class Mark:
    """`text` is what it stands for, `shapes` how templates show that, the likeliest first."""

    text: str
    shapes: Callable[[str], Iterator[str]]


class Marks:
    """The marks of one prompt."""

    def __init__(self, may_become_control: Callable[[str], bool]) -> None:
        self._may_become_control = may_become_control
        self._marks: list[Mark] = []

    def content(self, text: str) -> str:
        """The mark of a message's content."""
        return self._add(Mark(text, _contents)) if text else text

    def in_json(self, text: str) -> str:
        """The mark of a string that the template shows as part of JSON. Templates measure and compare some of them."""
        if text in SCHEMA_WORDS or not text or (WORD.fullmatch(text) and not self._may_become_control(text)):
            return text
        return self._add(Mark(text, _strings))

    def damaged_in(self, frame: str) -> bool:
        rest = MARK.sub("", frame)
        return any(part in rest for part in (NONCE, OPENING, CLOSING))

    def filled(self, frame: str) -> list[Segment]:
        """The frame with the texts as they are likeliest to be shown."""
        # split() alternates between text and the captured index.
        pieces = enumerate(MARK.split(frame))
        return _segments(next(self._shapes(piece)) if odd % 2 else piece for odd, piece in pieces)

    def fitted(self, frame: str, rendered: str) -> list[Segment] | None:
        """The frame with the texts in such shapes that it becomes what was rendered; None if there are none.

        Whatever fits is safe: what counts as trusted comes from the frame, which holds no text of a caller's.
        """
        ways: Mapping[int, Shown] = {0: None}
        for odd, piece in enumerate(MARK.split(frame)):
            ways = _continued(ways, self._shapes(piece) if odd % 2 else iter([piece]), rendered)
        return _segments(_unrolled(ways[len(rendered)])) if len(rendered) in ways else None

    def _shapes(self, index: str) -> Iterator[str]:
        mark = self._marks[int(index)]
        return mark.shapes(mark.text)

    def _add(self, mark: Mark) -> str:
        self._marks.append(mark)
        return f"{OPENING}{NONCE}:{len(self._marks) - 1}{CLOSING}"


def _segments(texts: Iterable[str]) -> list[Segment]:
    """Of the template's own texts and callers' in turns."""
    segments = (Segment(text, trusted=index % 2 == 0) for index, text in enumerate(texts))
    return [segment for segment in segments if segment.text]


def _continued(ways: Mapping[int, Shown], shapes: Iterator[str], rendered: str) -> dict[int, Shown]:
    """The ways to read the beginning of what was rendered, by where they end, each with one more text."""
    longer: dict[int, Shown] = {}
    for shape in shapes:
        for end, shown in ways.items():
            if len(longer) < MAX_WAYS and rendered.startswith(shape, end):
                longer.setdefault(end + len(shape), (shown, shape))
    return longer


def _unrolled(shown: Shown) -> list[str]:
    texts = []
    while shown:
        shown, text = shown
        texts.append(text)
    return texts[::-1]


def _contents(text: str) -> Iterator[str]:
    """Whole, without the blanks around it, as JSON; an answer without the thoughts in front of it."""
    yield from _trimmed(text)
    if END_OF_THOUGHTS in text:
        yield from _trimmed(text.rpartition(END_OF_THOUGHTS)[2])
    yield escaped(text)
    yield escaped(text.strip())


def _strings(text: str) -> Iterator[str]:
    """As in JSON, or bare, or as in Python."""
    yield escaped(text)
    yield text
    yield repr(text)[1:-1]


def _trimmed(text: str) -> Iterator[str]:
    """Without some of the blanks at either end."""
    inner = text.strip()
    if not inner:
        yield from (text, "")
        return
    start = text.index(inner)
    before, behind = text[:start], text[start + len(inner) :]
    fronts, backs = {before, before.lstrip("\n"), ""}, {behind, behind.rstrip("\n"), ""}
    # The longest first: it is the text as it is.
    for left, right in product(sorted(fronts, key=len, reverse=True), sorted(backs, key=len, reverse=True)):
        yield left + inner + right
