"""Inferwire, asked for embeddings."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import grpc

from service.api.content import TextContentItem
from service.api.embeddings import EmbeddingsRequest
from service.api.models import ModelType
from service.bench.contenders.base import Contender, Measured, Running, measured_here
from service.bench.contenders.inferwire import MODEL_ID, Inferwire, open_channel, serving
from service.bench.embedding_timing import Embed, EmbeddingFigures, PrepareEmbed, calls_in_turn
from service.bench.embedding_workloads import EmbeddingWorkload
from service.wire.embeddings import embeddings_request_to_proto

METHOD = "/inferwire.v1.InferenceService/Embeddings"


class InferwireEmbeddings(Contender[EmbeddingWorkload, EmbeddingFigures]):
    name = Inferwire.name

    @asynccontextmanager
    async def running(self, model: Path, log: Path) -> AsyncIterator[Running[EmbeddingWorkload, EmbeddingFigures]]:
        entry = {"path": str(model), "id": MODEL_ID, "type": ModelType.EMBEDDING.value}
        async with serving([entry], log) as server:
            yield measured_here(partial(calls_in_turn, _preparer(server.channel, MODEL_ID)), server.pid)

    @asynccontextmanager
    async def running_at(
        self, target: str, model_id: str
    ) -> AsyncIterator[Running[EmbeddingWorkload, EmbeddingFigures]]:
        """A server that somebody else has started; what its processes use is not known."""
        async with open_channel(target) as channel:
            yield Measured(partial(calls_in_turn, _preparer(channel, model_id)), None)


def _preparer(channel: grpc.aio.Channel, model_id: str) -> PrepareEmbed:
    """Answers stay bytes, as those of streams do."""
    call: Any = channel.unary_unary(METHOD)

    def prepare(texts: Sequence[str]) -> Embed:
        contents = tuple(TextContentItem(text=text) for text in texts)
        request = EmbeddingsRequest(model_id=model_id, contents=contents)
        message = embeddings_request_to_proto(request).SerializeToString()

        async def embed() -> bytes:
            answer: bytes = await call(message)
            return answer

        return embed

    return prepare
