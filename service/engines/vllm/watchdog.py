"""Finds an engine that lives and does nothing: by what it does, not by a flag that it keeps about itself."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

QUESTION_S = 1.0


async def wait_for_stall(ask: Callable[[], Awaitable[Any]], timeout_s: float) -> None:
    """Returns when a question stays unanswered for so long.

    An engine answers between two steps, so `timeout_s` has to exceed its longest step.
    """
    while True:
        try:
            async with asyncio.timeout(timeout_s):
                await ask()
        except TimeoutError:
            return
        await asyncio.sleep(QUESTION_S)
