"""A world outside, on this machine."""

from collections.abc import AsyncIterator

import pytest
import trustme

from tests.images.hosts import Outside


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
async def outside(authority: trustme.CA) -> AsyncIterator[Outside]:
    async with Outside(authority).open() as world:
        yield world
