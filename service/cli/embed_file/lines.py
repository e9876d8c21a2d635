"""The lines of an input file: JSON objects with an id and a text."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class InputFile:
    path: Path
    lines: int
    sha256: str


@dataclass(frozen=True, slots=True)
class InputLine:
    """A line by its number, from 1. `error` says what is wrong with it; then there is no text."""

    number: int
    id: str | None
    text: str = ""
    error: str | None = None


def examine(path: Path) -> InputFile:
    digest, lines = hashlib.sha256(), 0
    with path.open("rb") as file:
        for line in file:
            digest.update(line)
            lines += 1
    return InputFile(path, lines, digest.hexdigest())


def read_lines(path: Path, max_bytes: int) -> Iterator[InputLine]:
    """All but empty ones. A text of more than `max_bytes` is wrong: no server takes it."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield _parsed(number, line, max_bytes)


def _parsed(number: int, line: bytes, max_bytes: int) -> InputLine:
    try:
        value: Any = json.loads(line)
    except ValueError as error:
        return _wrong(number, None, f"it is not JSON ({error})")
    if not isinstance(value, dict):
        return _wrong(number, None, "it is not a JSON object")
    id_, text = value.get("id"), value.get("text")
    if not isinstance(id_, str | int) or isinstance(id_, bool):
        return _wrong(number, None, "its id is not a string or an integer")
    if not isinstance(text, str):
        return _wrong(number, str(id_), "its text is not a string")
    if not _is_unicode(text):
        return _wrong(number, str(id_), "its text holds half a surrogate pair")
    if len(text.encode()) > max_bytes:
        return _wrong(number, str(id_), f"its text has more than {max_bytes} bytes")
    return InputLine(number, str(id_), text)


def _is_unicode(text: str) -> bool:
    """JSON may spell what UTF-8 can't hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _wrong(number: int, id_: str | None, error: str) -> InputLine:
    return InputLine(number, id_, error=f"line {number}: {error}")
