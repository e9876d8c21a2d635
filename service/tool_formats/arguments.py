"""The arguments of calls that are written as JSON: finding their end, and reading them."""

import json
from typing import Any


class JsonEnd:
    """Finds the end of a JSON object or array, a character at a time."""

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = False
        self._escaped = False

    def take(self, char: str) -> bool:
        """Whether the value ends with this character."""
        if self._in_string:
            self._take_in_string(char)
        elif char == '"':
            self._in_string = True
        elif char in "{[":
            self._depth += 1
        elif char in "}]":
            self._depth -= 1
            return self._depth <= 0
        return False

    def _take_in_string(self, char: str) -> None:
        if self._escaped:
            self._escaped = False
        elif char == "\\":
            self._escaped = True
        elif char == '"':
            self._in_string = False


class UnreadableArguments(ValueError):
    """The arguments can't be read; the message says why."""


def read_arguments(text: str) -> str:
    """JSON text of an object, as the model wrote it; line breaks inside of strings, which JSON forbids, are escaped."""
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
        as_written = True
    except ValueError:
        value, as_written = _read_leniently(text), False
    except RecursionError:
        raise UnreadableArguments("The arguments are nested too deeply.") from None
    if not isinstance(value, dict):
        raise UnreadableArguments("The arguments are not a JSON object.")
    return text.strip() if as_written else json_text(value)


def json_text(value: Any) -> str:
    """A value as JSON. Raises UnreadableArguments for what JSON, or a text, can't hold."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (ValueError, RecursionError) as error:
        raise UnreadableArguments(f"The arguments can't be told as JSON: {error}.") from None
    # Halves of surrogate pairs are no characters: they stay the escapes that they were.
    return text if is_text(text) else json.dumps(value)


def is_text(text: str) -> bool:
    """Whether a string can be sent: one from an escape in JSON may hold half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _read_leniently(text: str) -> Any:
    try:
        return json.loads(text, strict=False, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise UnreadableArguments(f"The arguments are not JSON: {error}.") from None


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON value")
