"""Tells a person who waits for an answer that something is going on; nothing where no terminal is."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from rich.console import Console

# Shorter waits need no explanation, and a flicker would only disturb.
SHOWN_AFTER_S = 1.0


@asynccontextmanager
async def waiting(what: str) -> AsyncIterator[Callable[[], None]]:
    """Shows on standard error what is being waited for, until the end or until what it gives is called."""
    console = Console(stderr=True)
    status = console.status(what, spinner="dots")
    shown = asyncio.get_running_loop().call_later(SHOWN_AFTER_S, status.start) if console.is_terminal else None

    def over() -> None:
        if shown:
            shown.cancel()
        status.stop()

    try:
        yield over
    finally:
        over()
