"""Walks through JSON as it is being written, a character at a time, and tells what it passes."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

LITERAL = frozenset("-+.0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


class Kind(Enum):
    KEY = auto()
    """The key of an object."""
    TEXT = auto()
    """A value that is a string."""
    BAD = auto()
    """What is written is not JSON; the walk is over."""


@dataclass(frozen=True, slots=True)
class Passed:
    kind: Kind
    depth: int
    """How many objects and arrays are open."""
    text: str = ""


class JsonWalk:
    """Feed it the characters of one object."""

    def __init__(self) -> None:
        self._open: list[str] = []
        self._string: list[str] | None = None
        self._escaped = False
        self._literal = False
        self._expect: Callable[[str], Passed | None] = self._value

    @property
    def finished(self) -> bool:
        return not self._open and self._expect == self._end

    def take(self, char: str) -> Passed | None:
        if self._string is not None:
            return self._in_string(char)
        if char.isspace():
            self._literal = False
            return None
        return self._expect(char)

    def _in_string(self, char: str) -> Passed | None:
        assert self._string is not None
        if char == '"' and not self._escaped:
            return self._string_ends()
        self._string.append(char)
        self._escaped = char == "\\" and not self._escaped
        return None

    def _string_ends(self) -> Passed:
        raw, self._string = "".join(self._string or ()), None
        try:
            text: str = json.loads(f'"{raw}"', strict=False)
        except ValueError:
            return self._bad()
        if self._expect == self._key:
            self._expect = self._colon
            return Passed(Kind.KEY, len(self._open), text)
        self._expect = self._end
        return Passed(Kind.TEXT, len(self._open), text)

    def _key(self, char: str) -> Passed | None:
        if char == '"':
            self._string = []
        elif char == "}":
            return self._close("{")
        else:
            return self._bad()
        return None

    def _colon(self, char: str) -> Passed | None:
        self._expect = self._value
        return None if char == ":" else self._bad()

    def _value(self, char: str) -> Passed | None:
        if char == '"':
            self._string = []
        elif char in "{[":
            self._open.append(char)
            self._expect = self._key if char == "{" else self._value
        elif char == "]":
            return self._close("[")
        elif char in LITERAL:
            self._literal = True
            self._expect = self._end
        else:
            return self._bad()
        return None

    def _end(self, char: str) -> Passed | None:
        """Behind a value."""
        if self._literal and char in LITERAL:
            return None
        self._literal = False
        if char in "}]":
            return self._close("{" if char == "}" else "[")
        if char != "," or not self._open:
            return self._bad()
        self._expect = self._key if self._open[-1] == "{" else self._value
        return None

    def _close(self, opening: str) -> Passed | None:
        if not self._open or self._open.pop() != opening:
            return self._bad()
        self._expect = self._end
        return None

    def _bad(self) -> Passed:
        return Passed(Kind.BAD, len(self._open))
