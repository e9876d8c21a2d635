"""The client of each language, built once."""

from collections.abc import Callable
from functools import cache

import pytest

from tests.clients.building import LANGUAGES, PYTHON, Command, Language


@pytest.fixture(scope="session")
def built(pytestconfig: pytest.Config) -> Callable[[Language], Command]:
    """How to start the client of a language; it is built in a folder that the next run finds again."""
    folder = pytestconfig.cache.mkdir("clients")
    return cache(lambda language: language.built(folder))


@pytest.fixture(scope="session", params=LANGUAGES, ids=lambda language: language.name)
def client(request: pytest.FixtureRequest, built: Callable[[Language], Command]) -> Command:
    return built(request.param)


@pytest.fixture
def python(built: Callable[[Language], Command]) -> str:
    """The interpreter for which the stubs are installed."""
    return built(PYTHON).arguments[0]
