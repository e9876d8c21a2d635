"""Every pair of converters in service/wire, found by name, so that a new pair can't be forgotten."""

import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any, get_type_hints

from service import wire


@dataclass(frozen=True)
class Pair:
    """`x_from_proto` and `x_to_proto`, and the generated class between them."""

    name: str
    from_proto: Callable[[Any], Any]
    to_proto: Callable[[Any], Any]
    proto: Any

    def __str__(self) -> str:
        return self.name


def wire_modules() -> Iterator[ModuleType]:
    for module in pkgutil.iter_modules(wire.__path__):
        yield import_module(f"{wire.__name__}.{module.name}")


def find_pairs() -> Iterator[Pair]:
    """Pairs for one message; a pair for a list of them works within the message that holds the list."""
    for module in wire_modules():
        for name, decode in converters(module):
            encode = getattr(module, f"{name}_to_proto", None)
            proto = next(iter(get_type_hints(decode).values()))
            if encode is not None and isinstance(proto, type):
                yield Pair(name, decode, encode, proto)


def converters(module: ModuleType) -> Iterator[tuple[str, Callable[[Any], Any]]]:
    for attribute, function in vars(module).items():
        own = getattr(function, "__module__", "") == module.__name__
        if own and attribute.endswith("_from_proto") and not attribute.startswith("_"):
            yield attribute.removesuffix("_from_proto"), function


PAIRS = list(find_pairs())
