"""The library transformers, as its users embed texts: mean of the last layer, normalised, in batches of like lengths.

python -m service.bench.contenders.transformers_embeddings MODEL     reads workloads and writes rounds (see child.py)
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from service.bench.contenders.base import Contender, Running, measured_here
from service.bench.contenders.child import answer, child
from service.bench.embedding_timing import Embed, EmbeddingFigures, PrepareEmbed, calls_in_turn
from service.bench.embedding_workloads import EmbeddingWorkload

BATCH = 32


class TransformersEmbeddings(Contender[EmbeddingWorkload, EmbeddingFigures]):
    name = "transformers"

    @asynccontextmanager
    async def running(self, model: Path, log: Path) -> AsyncIterator[Running[EmbeddingWorkload, EmbeddingFigures]]:
        async with child(__name__, model, log, EmbeddingFigures) as running:
            yield running


async def _serve(path: str) -> None:
    await answer(measured_here(partial(calls_in_turn, _preparer(path))), EmbeddingWorkload)


def _preparer(path: str) -> PrepareEmbed:
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(path)
    model = AutoModel.from_pretrained(path, dtype=torch.float32).eval()

    def prepare(texts: Sequence[str]) -> Embed:
        # In a thread, beside which memory is watched.
        return lambda: asyncio.to_thread(_vectors, model, tokenizer, texts)

    return prepare


def _vectors(model: Any, tokenizer: Any, texts: Sequence[str]) -> list[list[float]]:
    vectors: dict[int, list[float]] = {}
    for places in _batches(texts):
        batch = tokenizer([texts[place] for place in places], padding=True, truncation=True, return_tensors="pt")
        vectors.update(zip(places, _mean(model, batch), strict=True))
    return [vectors[place] for place in range(len(texts))]


def _batches(texts: Sequence[str]) -> Iterator[Sequence[int]]:
    """Places in `texts`. Texts of like lengths are together: the shorter ones of a batch are padded."""
    by_length = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    return (by_length[first : first + BATCH] for first in range(0, len(texts), BATCH))


def _mean(model: Any, batch: Any) -> list[list[float]]:
    import torch

    with torch.inference_mode():
        states = model(**batch).last_hidden_state
        mask = batch["attention_mask"].unsqueeze(-1).to(states.dtype)
        means = (states * mask).sum(1) / mask.sum(1)
        vectors: list[list[float]] = torch.nn.functional.normalize(means).tolist()
    return vectors


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))
