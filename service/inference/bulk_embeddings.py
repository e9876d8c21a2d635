"""Bulk embeddings: any number of items in, a result for each out.

    items -> read, while the window has room -> a task each: tokenise, wait for a place, embed
          -> results that wait to be sent -> the window has room again

An item counts in the window from its arrival until its result is sent. So a caller who doesn't read, and an engine that
is full, stop the reading, and what a stream holds is bounded.
"""

import asyncio
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from service.api.content import InterleavedContentItem
from service.api.embeddings import Embedding, EmbeddingOptions, EmbeddingResult
from service.engines.admission import Bulk
from service.engines.registry import Registry
from service.errors import InferwireError, InvalidField, RequestError
from service.inference.embedding import Embedder
from service.settings import LimitSettings
from service.telemetry.calls import Call


@dataclass(frozen=True, slots=True)
class ReceivedItem:
    """An item as it came in: its content, or what makes it unreadable."""

    id: str
    content: InterleavedContentItem | RequestError
    size_bytes: int


class BulkEmbeddings:
    """Embeds streams of items."""

    def __init__(self, registry: Registry, limits: LimitSettings) -> None:
        self._registry = registry
        self._limits = limits

    @asynccontextmanager
    async def opened(self, options: EmbeddingOptions, call: Call) -> AsyncIterator["BulkStream"]:
        """A stream whose options are accepted. Raises what is wrong with them."""
        engine = self._registry.embedding_engine(options.model_id, call)
        try:
            embedder = Embedder(engine, options)
        except RequestError as error:
            raise error.under("options") from None
        async with self._registry.admission(engine).bulk(call.identity) as places:
            yield BulkStream(embedder, places, Window(self._limits), call)


class Window:
    """How much of a stream is under way."""

    def __init__(self, limits: LimitSettings) -> None:
        self._items_left = limits.max_stream_items
        self._bytes_left = limits.max_stream_bytes
        self._has_room = asyncio.Event()
        self._has_room.set()

    async def wait_for_room(self) -> None:
        """For one more item, however large it is."""
        await self._has_room.wait()

    def enter(self, item: ReceivedItem) -> None:
        self._change(1, item.size_bytes)

    def leave(self, item: ReceivedItem) -> None:
        self._change(-1, -item.size_bytes)

    def _change(self, items: int, size_bytes: int) -> None:
        self._items_left -= items
        self._bytes_left -= size_bytes
        if self._items_left > 0 and self._bytes_left > 0:
            self._has_room.set()
        else:
            self._has_room.clear()


class BulkStream:
    """One stream under way."""

    def __init__(self, embedder: Embedder, places: Bulk, window: Window, call: Call) -> None:
        self._embedder = embedder
        self._places = places
        self._window = window
        self._call = call
        self._unanswered: set[str] = set()
        # None is the end.
        self._done: asyncio.Queue[tuple[ReceivedItem, EmbeddingResult] | None] = asyncio.Queue()

    async def results(self, items: AsyncIterator[ReceivedItem]) -> AsyncGenerator[EmbeddingResult, None]:
        """Each is sent by the time that the next one is asked for. Raises what isn't the fault of an item."""
        work = asyncio.create_task(self._answer_all(items))
        try:
            while done := await self._done.get():
                item, result = done
                # Its id is free from here on: who gets the result may use it before we know that it was sent.
                self._unanswered.remove(item.id)
                yield result
                self._window.leave(item)
            await work
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)

    async def _answer_all(self, items: AsyncIterator[ReceivedItem]) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                await self._window.wait_for_room()
                async for item in items:
                    self._enter(item)
                    group.create_task(self._answer(item))
                    await self._window.wait_for_room()
        except* InferwireError as failures:
            raise failures.exceptions[0] from None
        finally:
            self._done.put_nowait(None)

    def _enter(self, item: ReceivedItem) -> None:
        if not item.id:
            raise InvalidField("item.id", "An id is required.")
        if item.id in self._unanswered:
            raise InvalidField("item.id", "Another item with this id is not answered yet.")
        self._unanswered.add(item.id)
        self._window.enter(item)

    async def _answer(self, item: ReceivedItem) -> None:
        outcome: Embedding | RequestError
        try:
            outcome = await self._embed(item)
        except RequestError as error:
            outcome = error.under("item.content")
        self._done.put_nowait((item, EmbeddingResult(item.id, outcome)))

    async def _embed(self, item: ReceivedItem) -> Embedding:
        if isinstance(item.content, RequestError):
            raise item.content
        text = await asyncio.to_thread(self._embedder.read, item.content)
        tokens = len(text.token_ids)
        async with self._places.place(tokens) as place:
            place.used = tokens
            self._call.count_prompt(tokens)
            self._call.neutralized_spans += text.neutralized_spans
            return await self._embedder.embed(uuid.uuid4().hex, text)
