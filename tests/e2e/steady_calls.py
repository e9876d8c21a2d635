"""Calls of all kinds, one after the other, for as long as something goes on around them."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import cycle

from service.api.events import Complete
from service.client import Client
from tests.e2e.calls import chat, completion, embeddings

TOKENS = 10


async def stream(client: Client) -> None:
    *_, last = [event async for event in client.stream_chat(chat(tokens=TOKENS))]
    assert isinstance(last, Complete)
    assert last.usage.completion_tokens == TOKENS


KINDS: Sequence[Callable[[Client], Awaitable[object]]] = (
    stream,
    lambda client: client.chat(chat(tokens=TOKENS)),
    lambda client: client.complete(completion(tokens=TOKENS)),
    lambda client: client.embed(embeddings("one", "two")),
)


class Callers:
    """Call until they are told that it is over, and it is enough."""

    def __init__(self, client: Client, *, at_least: int) -> None:
        self._client = client
        self._at_least = at_least
        self._kinds: Iterator[Callable[[Client], Awaitable[object]]] = cycle(KINDS)
        self.calls = 0
        self.failures: list[Exception] = []
        self.over = False

    async def work(self) -> None:
        while not self.over or self.calls < self._at_least:
            self.calls += 1
            try:
                await next(self._kinds)(self._client)
            except Exception as failure:
                self.failures.append(failure)
