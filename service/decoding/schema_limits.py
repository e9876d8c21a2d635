"""How large a JSON Schema may be. What is larger would take long to read, here, in the decoder or on the answer.

The numbers are measured: what they allow compiles in a fraction of a second, and nothing that a person writes or a
data model generates comes near them.
"""

from collections.abc import Callable, Iterator
from typing import Any

MAX_PARTS = 1_000
"""Objects and arrays in the JSON text, of whatever meaning."""
MAX_SCHEMAS = 10_000
"""Schemas when each reference is replaced by what it leads to; a circle of references counts once."""
MAX_PROPERTIES = 256
MAX_VALUES = 2_000
MAX_BRANCHES = 256
MAX_LENGTH = 100_000
"""Of a string or an array, as a bound."""
MAX_COUNTED = 1_000
"""Properties times a bound on their number: what the decoder writes out to enforce the bound."""

LENGTHS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
BRANCHES = ("anyOf", "oneOf", "prefixItems")


def has_too_many_parts(schema: Any) -> bool:
    """For JSON that may be no schema, before anything else is done with it."""
    level, parts = [schema], 1
    while level:
        level = [child for node in level for child in children(node)]
        parts += len(level)
        if parts > MAX_PARTS:
            return True
    return False


def children(node: Any) -> list[Any]:
    values = node.values() if isinstance(node, dict) else node
    return [value for value in values if isinstance(value, dict | list)]


def problems_of_size(schema: dict[str, Any], place: str) -> Iterator[tuple[str, str]]:
    """What is too large in one schema, with its place; what it holds or leads to is not looked at.

    What is no schema, because a keyword has a value of another type, is left to who checks that.
    """
    yield from _too_many(schema, place)
    for keyword in LENGTHS:
        if (bound := _number(schema, keyword)) > MAX_LENGTH:
            yield f"{place}.{keyword}", f"it is {bound:g}; the limit is {MAX_LENGTH}."
    count = _size(schema, "properties")
    counted = max(_number(schema, "minProperties"), _number(schema, "maxProperties"))
    if counted * count > MAX_COUNTED:
        yield place, f"{count} properties of which {counted:g} are counted are too many to count."


def _too_many(schema: dict[str, Any], place: str) -> Iterator[tuple[str, str]]:
    limits = {"properties": MAX_PROPERTIES, "enum": MAX_VALUES} | dict.fromkeys(BRANCHES, MAX_BRANCHES)
    for keyword, most in limits.items():
        if (size := _size(schema, keyword)) > most:
            yield f"{place}.{keyword}", f"it has {size} entries; the limit is {most}."


def _size(schema: dict[str, Any], keyword: str) -> int:
    value = schema.get(keyword)
    return len(value) if isinstance(value, dict | list) else 0


def _number(schema: dict[str, Any], keyword: str) -> float:
    value = schema.get(keyword)
    # Also integers too long to be shown, or to be a float.
    return min(value, 10**300) if isinstance(value, int | float) else 0


def count_expanded(root: Any, parts_of: Callable[[dict[str, Any]], list[Any]]) -> int:
    """The schemas in `root`; `parts_of` tells what a schema holds and leads to. Counts no further than the limit."""
    counts: dict[int, int] = {}

    def count(schema: Any) -> int:
        if not isinstance(schema, dict):
            return 1
        if id(schema) not in counts:
            counts[id(schema)] = 0  # for a circle of references
            counts[id(schema)] = min(1 + sum(map(count, parts_of(schema))), MAX_SCHEMAS + 1)
        return counts[id(schema)]

    return count(root)
