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

    def add(self, piece: Piece) -> None:
        last = self._pieces[-1] if self._pieces else None
        match last, piece:
            case Text(text=before), Text(text=more):
                self._pieces[-1] = Text(before + more)
            case CallFragment(text=before), CallFragment(text=more):
                self._pieces[-1] = CallFragment(before + more)
            case _:
                self._pieces.append(piece)

    def text(self, text: str) -> None:
        if text:
            self.add(Text(text))

    def fragment(self, text: str) -> None:
        if text:
            self.add(CallFragment(text))

    def take(self) -> list[Piece]:
        pieces, self._pieces = self._pieces, []
        return pieces
