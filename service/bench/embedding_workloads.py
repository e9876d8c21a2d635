"""Texts to embed: so many in a call, so many calls one after the other."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from service.bench.workloads import WORDS

FEWEST_WORDS, MOST_WORDS = 12, 36


@dataclass(frozen=True, slots=True)
class EmbeddingWorkload:
    """`calls` calls of `texts` texts each, which are as long as sentences are."""

    name: str
    texts: int
    calls: int

    def calls_of(self, seed: int) -> Iterator[Sequence[str]]:
        """The same ones for the same seed."""
        chance = random.Random(f"{self.name} {seed}")
        for _ in range(self.calls):
            yield [_text(chance) for _ in range(self.texts)]


def _text(chance: random.Random) -> str:
    return " ".join(chance.choices(WORDS, k=chance.randint(FEWEST_WORDS, MOST_WORDS)))


ONE_TEXT = EmbeddingWorkload("1 text a call", texts=1, calls=100)
SOME_TEXTS = EmbeddingWorkload("32 texts a call", texts=32, calls=16)
MANY_TEXTS = EmbeddingWorkload("256 texts a call", texts=256, calls=4)
EMBEDDINGS = (ONE_TEXT, SOME_TEXTS, MANY_TEXTS)


def warm_ups(workloads: Sequence[EmbeddingWorkload]) -> Iterator[EmbeddingWorkload]:
    """One call of each size."""
    return (replace(workload, name="warm-up", calls=1) for workload in workloads)
