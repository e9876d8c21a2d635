"""The client of each language, built once."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests.clients.building import LANGUAGES, PYTHON, Command, Language


@pytest.fixture(scope="session")
def client_folder(pytestconfig: pytest.Config) -> Path:
    """Where clients are built, each in a folder of its language; the next run finds it again."""
    return pytestconfig.cache.mkdir("clients")


@pytest.fixture(scope="session")
def built(client_folder: Path) -> Callable[[Language], Command]:
    """How to start the client of a language, built first."""
    return cache(lambda language: language.built(client_folder))


@pytest.fixture(scope="session", params=LANGUAGES, ids=lambda language: language.name)
def client(request: pytest.FixtureRequest, built: Callable[[Language], Command]) -> Command:
    return built(request.param)


@pytest.fixture
def python(built: Callable[[Language], Command]) -> str:
    """The interpreter for which the stubs are installed."""
    return built(PYTHON).arguments[0]
