"""What the readers of all dialects make of a model's output: text, and calls as they are being written."""

from dataclasses import dataclass
from typing import Protocol, TypeAlias

PYTHON_TAG = "<|python_tag|>"
"""What Llama models write before a call; a control token, or the same spelled out."""


@dataclass(frozen=True, slots=True)
class Text:
    """Ordinary text."""

    text: str


@dataclass(frozen=True, slots=True)
class CallBegun:
    """From here on the model writes a call."""


@dataclass(frozen=True, slots=True)
class CallFragment:
    """More of the call's raw text; the fragments of a call join to its `raw_text`."""

    text: str


@dataclass(frozen=True, slots=True)
class CallRead:
    """The end of a call.

    `arguments_json` is JSON text of an object, or None where the call can't be read; `problem` then says why. A call
    that the end of the output ends is `cut`; it has arguments all the same if nothing else could have ended it, as with
    code. `name` is None when even that can't be told.
    """

    raw_text: str
    name: str | None
    arguments_json: str | None
    problem: str | None = None
    cut: bool = False


Piece: TypeAlias = Text | CallBegun | CallFragment | CallRead


class Reader(Protocol):
    """Reads the output of a model as it comes, whatever the size of the bites. Never raises.

    It holds text back only for as long as that may turn out to begin a call.
    """

    def feed(self, text: str) -> list[Piece]: ...

    def close(self) -> list[Piece]:
        """The rest, once the output has ended."""
        ...


class Pieces:
    """Collects pieces; neighbouring texts and fragments become one."""

    def __init__(self) -> None:
        self._pieces: list[Piece] = []
        self._kind: type[Text | CallFragment] = Text
        self._parts: list[str] = []  # of a text or fragment that may go on

    def add(self, piece: Piece) -> None:
        match piece:
            case Text(text=text):
                self.text(text)
            case CallFragment(text=text):
                self.fragment(text)
            case _:
                self._end_part()
                self._pieces.append(piece)

    def text(self, text: str) -> None:
        self._write(Text, text)

    def fragment(self, text: str) -> None:
        self._write(CallFragment, text)

    def take(self) -> list[Piece]:
        self._end_part()
        pieces, self._pieces = self._pieces, []
        return pieces

    def _write(self, kind: type[Text | CallFragment], text: str) -> None:
        if kind is not self._kind:
            self._end_part()
            self._kind = kind
        if text:
            self._parts.append(text)

    def _end_part(self) -> None:
        if self._parts:
            self._pieces.append(self._kind("".join(self._parts)))
            self._parts = []
