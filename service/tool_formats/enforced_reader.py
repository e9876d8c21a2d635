"""Reads answers that can't be anything but calls, as the decoder is held to them."""

from service.tool_formats.reading import CallBegun, CallFragment, CallRead, Piece, Pieces, Reader, Text


class EnforcedReader:
    """See reading.Reader. What a dialect hands out as text, as it got too short to be a call, is one here.

    A budget may end before the name of the tool does. The answer then has a call that is cut, under no name, rather
    than half of one for a text.
    """

    def __init__(self, dialect: Reader) -> None:
        self._dialect = dialect
        self._seen_text = False

    def feed(self, text: str) -> list[Piece]:
        pieces = self._dialect.feed(text)
        self._seen_text |= any(isinstance(piece, Text) for piece in pieces)
        return pieces

    def close(self) -> list[Piece]:
        pieces = self._dialect.close()
        if self._seen_text:  # an engine that enforces nothing
            return pieces
        found = Pieces()
        for piece in pieces:
            for part in _as_call(piece.text) if isinstance(piece, Text) else [piece]:
                found.add(part)
        return found.take()


def _as_call(text: str) -> list[Piece]:
    """What is left of a call; nothing but a separator is none."""
    begun = text.lstrip(", \n")
    if not begun:
        return []
    return [CallBegun(), CallFragment(begun), CallRead(begun, None, None, "The call is not finished.", cut=True)]
