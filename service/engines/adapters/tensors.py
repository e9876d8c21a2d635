"""The weights of an adapter: of which parts of the base, of the right shapes, and all of them numbers."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy
from safetensors import SafetensorError, deserialize

from service.engines.adapters.config import AdapterConfig
from service.engines.base import AdapterHost
from service.errors import ModelNotLoadable

WEIGHTS_FILE = "adapter_model.safetensors"
NAME = re.compile(r"(?:base_model\.model\.)?(?P<module>.+)\.lora_(?P<half>[AB])\.weight")
LAYER = re.compile(r".*?\b(?P<ending>layers\.\d+\..+)")
# How wide a number is, and the bits that are all set where it isn't finite. Of bfloat16 numpy knows nothing.
EXPONENTS: Mapping[str, tuple[Any, int]] = {
    "F16": (numpy.uint16, 0x7C00),
    "BF16": (numpy.uint16, 0x7F80),
    "F32": (numpy.uint32, 0x7F800000),
}
WIDEST_BYTES = 4
HEADER_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Half:
    """One of the two matrices that together change a module."""

    tensor: str
    shape: tuple[int, ...]


def most_bytes(host: AdapterHost) -> int:
    """What an adapter of the highest rank for all modules would take; a round sum where the modules aren't known."""
    if host.modules is None:
        return 4 * 1024**3
    numbers = sum(host.rank * (wide + narrow) for wide, narrow in host.modules.values())
    return numbers * WIDEST_BYTES + HEADER_BYTES


def check_tensors(data: bytes, config: AdapterConfig, host: AdapterHost) -> None:
    """Raises ModelNotLoadable."""
    try:
        tensors = dict(deserialize(data))  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        raise _refusal(f"It is not a safetensors file: {error}.") from None
    except Exception:  # a header that isn't what it should be, in one way or another
        raise _refusal("It is not a safetensors file.") from None
    modules = _modules(tensors)
    for module, halves in modules.items():
        _check_module(module, halves, config, host)
    for name, tensor in tensors.items():
        _check_numbers(name, tensor)


def _modules(tensors: Mapping[str, Any]) -> Mapping[str, dict[str, Half]]:
    modules: dict[str, dict[str, Half]] = {}
    for name, tensor in tensors.items():
        found = NAME.fullmatch(name)
        if found is None:
            raise _refusal(f"{name!r} is no part of a LoRA adapter that the engine knows.")
        halves = modules.setdefault(found["module"], {})
        if found["half"] in halves:
            raise _refusal(f"{name!r} is there twice.")
        halves[found["half"]] = Half(name, tuple(tensor["shape"]))
    if not modules:
        raise _refusal("It holds no tensors.")
    return modules


def _check_module(module: str, halves: Mapping[str, Half], config: AdapterConfig, host: AdapterHost) -> None:
    if halves.keys() != {"A", "B"}:
        raise _refusal(f"{module}: one half is missing.")
    a, b = halves["A"], halves["B"]
    if len(a.shape) != 2 or len(b.shape) != 2 or a.shape[0] != b.shape[1] or 0 in (*a.shape, *b.shape):
        raise _refusal(f"{module}: the shapes {list(a.shape)} and {list(b.shape)} don't fit each other.")
    if a.shape[0] not in config.ranks:
        raise _refusal(f"{module}: the rank is {a.shape[0]}, which the configuration doesn't say.")
    if host.modules is None:
        return
    expected = _of_base(module, host.modules)
    if expected is None:
        raise _refusal(f"{module}: the base has no such module.")
    if (a.shape[1], b.shape[0]) != expected:
        raise _refusal(
            f"{module}: it is for {a.shape[1]} numbers in and {b.shape[0]} out; the base has {expected[0]} and "
            f"{expected[1]} there."
        )


def _of_base(module: str, modules: Mapping[str, tuple[int, int]]) -> tuple[int, int] | None:
    """By name, or by its ending where model classes differ in what they call the model that the layers are in."""
    if module in modules:
        return modules[module]
    found = LAYER.fullmatch(module)
    shapes = {shape for name, shape in modules.items() if found and name.endswith(f".{found['ending']}")}
    return shapes.pop() if len(shapes) == 1 else None


def _check_numbers(name: str, tensor: Mapping[str, Any]) -> None:
    if tensor["dtype"] not in EXPONENTS:
        raise _refusal(f"{name!r} is of {tensor['dtype']}; only {', '.join(EXPONENTS)} are taken.")
    kind, exponent = EXPONENTS[tensor["dtype"]]
    bits = numpy.frombuffer(tensor["data"], dtype=kind)
    if bool(((bits & exponent) == exponent).any()):
        raise _refusal(f"{name!r} holds numbers that are not finite.")


def _refusal(text: str) -> ModelNotLoadable:
    return ModelNotLoadable(f"{WEIGHTS_FILE}: {text}")
