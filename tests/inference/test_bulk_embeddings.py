"""How much of a stream of items is under way, counted."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

from service.api.content import TextContentItem
from service.api.embeddings import EmbeddingOptions
from service.engines.registry import Registry
from service.inference.bulk_embeddings import BulkEmbeddings, ReceivedItem
from service.settings import LimitSettings
from service.telemetry.calls import Call
from tests.inference.conftest import EMBEDDER, Embedder

FEW = 10


class Arriving:
    def __init__(self, count: int, size_bytes: int = 1) -> None:
        self.count = count
        self.size_bytes = size_bytes
        self.read = 0

    async def __aiter__(self) -> AsyncIterator[ReceivedItem]:
        for number in range(self.count):
            self.read += 1
            yield ReceivedItem(str(number), TextContentItem(text="a"), self.size_bytes)


async def read_beyond(embedder: Embedder, call: Call, arriving: Arriving, taken: int) -> int:
    """How many items were read when `taken` results were, and nobody asks for another."""
    limits = LimitSettings(max_stream_items=FEW, max_stream_bytes=1000)
    bulk = BulkEmbeddings(Registry([await embedder()]), limits)
    async with (
        bulk.opened(EmbeddingOptions(model_id=EMBEDDER), call) as stream,
        aclosing(stream.results(aiter(arriving))) as results,
    ):
        for _ in range(taken):
            await anext(results)
        await asyncio.sleep(0.1)
        return arriving.read


async def test_of_a_hundred_thousand_items_as_many_are_read_as_fit(embedder: Embedder, call: Call) -> None:
    # The last result that was taken counts until the next one is asked for: only then it is sent.
    assert await read_beyond(embedder, call, Arriving(100_000), taken=1) == FEW
    assert await read_beyond(embedder, call, Arriving(100_000), taken=25) == FEW + 24


async def test_large_items_fill_it_sooner(embedder: Embedder, call: Call) -> None:
    assert await read_beyond(embedder, call, Arriving(100, size_bytes=400), taken=1) == 3


async def test_one_item_may_be_larger_than_all_room(embedder: Embedder, call: Call) -> None:
    assert await read_beyond(embedder, call, Arriving(3, size_bytes=5000), taken=3) == 3
