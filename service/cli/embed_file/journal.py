"""What is done of an input file: one JSON line per answered line, written as soon as it is known.

The first line says what the journal is of. A last line that is cut off is of a run that was killed, and counts as not
done. Whoever has the journal open holds a lock on it, which the system gives back however the process ends.
"""

import base64
import fcntl
import json
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

NOT_DONE = -1


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the output. `vector` is little-endian single precision; without one there is an error."""

    line: int
    id: str | None
    vector: bytes | None = None
    truncated: bool = False
    tokens: int = 0
    error: str | None = None


class JournalInUse(Exception):
    """Another run has it open."""


class JournalOfAnother(Exception):
    """It was begun with another input, model or option."""


class Journal:
    """The rows so far, found again by the number of their line."""

    def __init__(self, path: Path, subject: Mapping[str, Any], lines: int) -> None:
        """`subject` is what the rows depend on. Raises JournalInUse and JournalOfAnother."""
        self.path = path
        self.errors = 0
        self.rows = 0
        self._places = array("q", [NOT_DONE]) * (lines + 1)
        self._file = path.open("a+b", buffering=0)
        try:
            self._lock()
            self._open(dict(subject))
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    def has(self, line: int) -> bool:
        return self._places[line] != NOT_DONE

    def add(self, row: Row) -> None:
        self._note(self._file.seek(0, 2), row)
        self._file.write(_written(asdict(row) | {"vector": row.vector and base64.b64encode(row.vector).decode()}))

    def in_order(self) -> Iterator[Row]:
        """All rows, by the numbers of their lines."""
        with self.path.open("rb") as file:
            for place in self._places:
                if place != NOT_DONE:
                    file.seek(place)
                    yield _row(json.loads(file.readline()))

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise JournalInUse from None

    def _open(self, subject: dict[str, Any]) -> None:
        with self.path.open("rb") as file:
            first = file.readline()
            if first.endswith(b"\n") and json.loads(first) != subject:
                raise JournalOfAnother
            end = len(first) if first.endswith(b"\n") else 0
            while (line := file.readline()).endswith(b"\n"):
                self._note(end, _row(json.loads(line)))
                end += len(line)
        self._file.truncate(end)
        if not end:
            self._file.write(_written(subject))

    def _note(self, place: int, row: Row) -> None:
        self._places[row.line] = place
        self.rows += 1
        self.errors += row.error is not None


def _written(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def _row(value: dict[str, Any]) -> Row:
    vector = value["vector"]
    return Row(**value | {"vector": None if vector is None else base64.b64decode(vector)})
