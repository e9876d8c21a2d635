"""vLLM's own OpenAI server, asked for embeddings."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import aiohttp

from service.bench.contenders.base import Contender, Running, measured_here
from service.bench.contenders.openai_server import JSON, check, serving_by_default
from service.bench.embedding_timing import Embed, EmbeddingFigures, PrepareEmbed, calls_in_turn
from service.bench.embedding_workloads import EmbeddingWorkload


class OpenAIEmbeddings(Contender[EmbeddingWorkload, EmbeddingFigures]):
    """With vLLM's defaults."""

    name = "vLLM's OpenAI server, its defaults"

    @asynccontextmanager
    async def running(self, model: Path, log: Path) -> AsyncIterator[Running[EmbeddingWorkload, EmbeddingFigures]]:
        async with serving_by_default(model, log) as server:
            yield measured_here(partial(calls_in_turn, _preparer(server.session, str(model))), server.pid)


def _preparer(session: aiohttp.ClientSession, model: str) -> PrepareEmbed:
    def prepare(texts: Sequence[str]) -> Embed:
        body = json.dumps({"model": model, "input": texts}).encode()

        async def embed() -> bytes:
            async with session.post("/v1/embeddings", data=body, headers=JSON) as answer:
                await check(answer)
                whole: bytes = await answer.read()
                return whole

        return embed

    return prepare
