"""vLLM's AsyncLLM, asked for embeddings in its own process and with Inferwire's settings.

python -m service.bench.contenders.raw_embeddings MODEL     reads workloads and writes rounds (see child.py)
"""

import asyncio
import sys
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from service.api.models import ModelType
from service.bench.contenders.base import Contender, Running, measured_here
from service.bench.contenders.child import answer, child
from service.bench.contenders.raw_engine import RawEngine, raw_engine
from service.bench.embedding_timing import Embed, EmbeddingFigures, PrepareEmbed, calls_in_turn
from service.bench.embedding_workloads import EmbeddingWorkload


class RawEmbeddings(Contender[EmbeddingWorkload, EmbeddingFigures]):
    name = RawEngine.name

    @asynccontextmanager
    async def running(self, model: Path, log: Path) -> AsyncIterator[Running[EmbeddingWorkload, EmbeddingFigures]]:
        async with child(__name__, model, log, EmbeddingFigures) as running:
            yield running


async def _serve(model: str) -> None:
    engine = await raw_engine(model, ModelType.EMBEDDING)
    await answer(measured_here(partial(calls_in_turn, _preparer(engine))), EmbeddingWorkload)


def _preparer(engine: Any) -> PrepareEmbed:
    from vllm.pooling_params import PoolingParams

    tokenizer = engine.get_tokenizer()

    async def one(token_ids: list[int]) -> list[float]:
        vector: list[float] = []
        prompt = {"prompt_token_ids": token_ids}
        async for output in engine.encode(prompt, PoolingParams(task="embed"), uuid.uuid4().hex):
            vector = output.outputs.data.tolist()
        return vector

    def prepare(texts: Sequence[str]) -> Embed:
        async def embed() -> list[list[float]]:
            return await asyncio.gather(*map(one, tokenizer(list(texts))["input_ids"]))

        return embed

    return prepare


if __name__ == "__main__":
    import uvloop

    uvloop.run(_serve(sys.argv[1]))
