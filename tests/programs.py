"""Programs that some tests need and not every machine has."""

import os
import shutil

import pytest

REQUIRED = os.environ.get("INFERWIRE_REQUIRE_TOOLCHAINS") == "1"


def program(*names: str) -> str:
    """The path of the first that is here. Without any the test is skipped, or fails where none may be."""
    for name in names:
        if found := shutil.which(name):
            return found
    missing = f"needs {' or '.join(names)}, which is not installed"
    if REQUIRED:
        pytest.fail(missing)
    pytest.skip(missing)
