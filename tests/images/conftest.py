"""A world outside, on this machine."""

from collections.abc import AsyncIterator

import pytest

from tests.images.hosts import Certificates, Outside


@pytest.fixture(scope="session")
def certificates() -> Certificates:
    return Certificates()


@pytest.fixture
async def outside(certificates: Certificates) -> AsyncIterator[Outside]:
    async with Outside(certificates).open() as world:
        yield world
