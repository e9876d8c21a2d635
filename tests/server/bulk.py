"""Streams of items to embed, and an engine that waits until it is let."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

from inferwire.v1 import embeddings_pb2 as pb
from service.engines.scripted import ScriptedEmbeddingEngine
from tests.server.serving import EMBEDDER, LIMITS, Running

Message = pb.StreamEmbeddingsRequest
VECTOR = (0.5, -0.5) * 1000


class PatientEngine(ScriptedEmbeddingEngine):
    """Embeds when it is let to, always to the same vector.

    Counts the texts that it holds, and keeps the lengths of those that it has begun.
    """

    def __init__(self, *, let: bool = False) -> None:
        super().__init__(EMBEDDER, LIMITS)
        self.let = asyncio.Event()
        if let:
            self.let.set()
        self.running = self.most_running = 0
        self.lengths: list[int] = []

    @property
    def begun(self) -> int:
        return len(self.lengths)

    async def embed(self, request_id: str, token_ids: Sequence[int], dimension: int | None) -> Sequence[float]:
        self.lengths.append(len(token_ids))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await self.let.wait()
            return VECTOR
        finally:
            self.running -= 1


class CountedItems:
    """Numbered items, without an end unless told; counts those that were taken to be sent."""

    def __init__(self, count: int, text: str = "text") -> None:
        self.count = count
        self.text = text
        self.taken = 0

    async def __aiter__(self) -> AsyncIterator[Message]:
        yield options()
        for number in range(self.count):
            self.taken += 1
            yield item(str(number), self.text)


def options(**fields: Any) -> Message:
    return Message(options={"model_id": EMBEDDER, **fields})


def item(id_: str, text: str = "text") -> Message:
    return Message(item={"id": id_, "content": {"text": text}})


def items(*texts: str) -> list[Message]:
    """Named by their numbers, behind plain options."""
    return [options(), *(item(str(number), text) for number, text in enumerate(texts))]


def stream(server: Running, messages: Any, timeout_s: float | None = 20, **metadata: str) -> Any:
    """A call under way; `messages` are sent as they come."""
    method = server.channel.stream_stream(
        "/inferwire.v1.InferenceService/StreamEmbeddings",
        Message.SerializeToString,
        pb.StreamEmbeddingsResponse.FromString,
    )
    return method(messages, timeout=timeout_s, metadata=tuple(metadata.items()))


async def results(server: Running, messages: Iterable[Message]) -> dict[str, pb.StreamEmbeddingsResponse]:
    answers = [answer async for answer in stream(server, messages)]
    assert len({answer.id for answer in answers}) == len(answers)
    return {answer.id: answer for answer in answers}
