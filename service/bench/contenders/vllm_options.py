"""Inferwire's settings of the engine, for servers that take them from a command line; and none at all."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from service.settings import ModelSettings

# The engine's room takes seconds to import, and `inferwire bench --help` has no need of it.


SETTINGS = ("VLLM_", "OMP_", "KMP_", "INFERWIRE_")
"""How variables begin that change what vLLM does."""


def tuned_environment() -> dict[str, str]:
    from service.engines.vllm import defaults

    return {**os.environ, **defaults.environment(on_cpu=_on_cpu())}


def default_environment() -> dict[str, str]:
    """This process's, without anything that vLLM would take for a setting."""
    return {name: value for name, value in os.environ.items() if not name.startswith(SETTINGS)}


def command_line(model: Path) -> list[str]:
    from service.engines.vllm import defaults

    args = defaults.engine_args(ModelSettings(path=str(model)), models=1, on_cpu=_on_cpu())
    return [part for name, value in args.items() for part in _option(f"--{name.replace('_', '-')}", value)]


def _on_cpu() -> bool:
    from vllm.platforms import current_platform

    return bool(current_platform.is_cpu())


def _option(flag: str, value: Any) -> Iterator[str]:
    match value:
        case True:
            yield flag
        case False | None:
            pass
        case type():
            yield from (flag, f"{value.__module__}.{value.__qualname__}")
        case dict():
            yield from (flag, json.dumps(value))
        case _:
            yield from (flag, str(value))
