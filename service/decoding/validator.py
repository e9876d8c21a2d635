"""JSON values against JSON Schemas, in bounded processor time: a busy machine is no reason not to know.

jsonschema takes Python's `re` for patterns, which can't be interrupted and may go back and forth for ever; and a schema
whose branches lead back to itself makes it try a number of ways that doubles with each level of the value.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any

import attrs
import regex
from jsonschema import Draft202012Validator, validators
from jsonschema.exceptions import ValidationError, best_match

from service.decoding.grammars import TooSlow

CPU_S = 1.0
MAX_PROBLEM = 300

Keyword = Callable[[Any, Any, Any, dict[str, Any]], Iterator[ValidationError] | None]


def is_valid(schema: Any, value: Any, cpu_s: float = CPU_S) -> bool:
    """Whether the value fits; references outside of the schema are never fetched. Raises TooSlow."""
    return not unfit(schema, [value], cpu_s)


def unfit(schema: Any, values: Sequence[Any], cpu_s: float = CPU_S) -> list[Any]:
    """Those of the values that don't fit. Raises TooSlow when it takes too long to tell of all of them together."""
    with _limited(cpu_s):
        validator = BoundedValidator(schema)
        return [value for value in values if not validator.is_valid(value)]


def misfit(schema: Any, value: Any, cpu_s: float = CPU_S) -> str | None:
    """What is wrong with the value, as a sentence; None when it fits. Raises TooSlow."""
    with _limited(cpu_s):
        error: Any = best_match(BoundedValidator(schema).iter_errors(value))
    return None if error is None else f"At {error.json_path}: {error.message[:MAX_PROBLEM]}."


@contextmanager
def _limited(cpu_s: float) -> Iterator[None]:
    token = _clock.set(_Clock(time.thread_time() + cpu_s))
    try:
        yield
    finally:
        _clock.reset(token)


class _Clock:
    """The processor time of this thread that is left, and what may not go on without any."""

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline

    def finds(self, pattern: str, text: str) -> bool:
        while True:
            # The library counts time as it passes, also while others have the processor: then it gets another try.
            with suppress(TimeoutError):
                return regex.search(pattern, text, timeout=self.left_s(), concurrent=True) is not None

    def left_s(self) -> float:
        left_s = self._deadline - time.thread_time()
        if left_s <= 0:
            raise TooSlow
        return left_s


_clock: ContextVar[_Clock] = ContextVar("clock")


def _watched(keyword: Keyword) -> Keyword:
    """The keyword, as long as there is time left."""

    def check(validator: Any, value: Any, instance: Any, schema: dict[str, Any]) -> Any:
        _clock.get().left_s()
        return keyword(validator, value, instance, schema)

    return check


def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if validator.is_type(instance, "string") and not _clock.get().finds(pattern, instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _pattern_properties(validator: Any, schemas: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    for pattern, sub_schema in schemas.items() if validator.is_type(instance, "object") else ():
        for name, value in instance.items():
            if _clock.get().finds(pattern, name):
                yield from validator.descend(value, sub_schema, path=name, schema_path=pattern)


_STANDARD = Draft202012Validator.VALIDATORS
# Made once: a class costs as much as thousands of checks, and those that are done with hold up the garbage collector.
BoundedValidator = validators.extend(  # type: ignore[no-untyped-call]
    Draft202012Validator,
    {
        **{name: _watched(_STANDARD[name]) for name in ("$ref", "anyOf", "oneOf", "items")},
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
    },
)


def _evolved(validator: Any, **changes: Any) -> Any:
    """Of the same class: by itself the library takes an unbounded one where a part of the schema has a `$schema`."""
    return attrs.evolve(validator, **changes)


BoundedValidator.evolve = _evolved
