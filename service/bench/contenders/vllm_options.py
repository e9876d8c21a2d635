"""Inferwire's settings of the engine, for servers that take them from a command line; and none at all.

python -m service.bench.contenders.vllm_options MODEL     writes the former as JSON
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from service.settings import ModelSettings

SETTINGS = ("VLLM_", "OMP_", "KMP_", "INFERWIRE_")
"""How variables begin that change what vLLM does."""


@dataclass(frozen=True, slots=True)
class Tuning:
    options: list[str]
    environment: dict[str, str]


@cache
def tuning(model: Path) -> Tuning:
    """Found out by a process of its own: vLLM takes seconds to import, and memory that the engines then lack."""
    own = subprocess.run([sys.executable, "-m", __name__, str(model)], check=True, capture_output=True, text=True)
    return Tuning(**json.loads(own.stdout.splitlines()[-1]))


def default_environment() -> dict[str, str]:
    """This process's, without anything that vLLM would take for a setting."""
    return {name: value for name, value in os.environ.items() if not name.startswith(SETTINGS)}


def tuned_environment() -> dict[str, str]:
    from service.engines.vllm import defaults

    return {**os.environ, **defaults.environment(on_cpu=_on_cpu())}


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


if __name__ == "__main__":
    print(json.dumps({"options": command_line(Path(sys.argv[1])), "environment": tuned_environment()}))
