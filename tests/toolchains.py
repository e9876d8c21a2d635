"""What tests need of other languages' tools, which `make test` doesn't install. `deploy/toolchains` does, on Debian."""

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

REQUIRED = "INFERWIRE_REQUIRE_TOOLCHAINS"
"""Set to 1, a tool that is missing is a failure."""


def need(*things: str) -> None:
    """Skips the test unless all of these programs, and files by their absolute paths, are there."""
    missing = [thing for thing in things if not (Path(thing).exists() if "/" in thing else shutil.which(thing))]
    if missing:
        do_without(f"{', '.join(missing)} not found; deploy/toolchains installs it on Debian")


def program(*names: str) -> str:
    """The path of the first of these that is there; without any, as `need`."""
    found = next(filter(None, map(shutil.which, names)), None)
    return found or do_without(f"{' or '.join(names)} not found; deploy/toolchains installs it on Debian")


def do_without(reason: str) -> NoReturn:
    """Skips the test, or fails it where everything is required."""
    if os.environ.get(REQUIRED) == "1":
        pytest.fail(f"{REQUIRED} is set, and: {reason}")
    pytest.skip(reason)
