"""Who gets the next call."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack, aclosing

from service.client import Client
from tests.e2e.calls import chat
from tests.mesh.calls import Mesh

LONG = 100_000


async def test_short_calls_go_in_turn(mesh: Mesh) -> None:
    async with mesh.channel() as channel:
        for number in range(20):
            await Client.over(channel).models(request_id=f"in-turn-{number}")
    served = [mesh.envoy.logged(f"in-turn-{number}")["server"] for number in range(20)]
    assert len(set(served)) == 2
    assert all(one != other for one, other in zip(served, served[1:], strict=False))
    assert set(served) == {server.target for server in mesh.fleet.servers}
