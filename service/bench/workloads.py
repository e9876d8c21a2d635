"""What the contenders have to do: so many streams at once, so long prompts, so long answers."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

SCHEMA = (
    '{"type": "object", "properties": {"name": {"type": "string", "maxLength": 40}, "age": {"type": "integer"}, '
    '"tags": {"type": "array", "items": {"type": "string", "maxLength": 20}, "maxItems": 8}}, '
    '"required": ["name", "age", "tags"], "additionalProperties": false}'
)
WORDS = (
    "time",
    "year",
    "people",
    "way",
    "day",
    "thing",
    "life",
    "child",
    "world",
    "school",
    "family",
    "group",
    "country",
    "problem",
    "hand",
    "part",
    "place",
    "week",
    "company",
    "system",
    "program",
    "question",
    "work",
    "number",
    "night",
    "point",
    "home",
    "water",
    "room",
    "area",
)


@dataclass(frozen=True, slots=True)
class Ask:
    """One text to continue by exactly so many tokens, or, with a schema, by a JSON value of at most so many."""

    prompt: str
    tokens: int
    json_schema: str | None = None


@dataclass(frozen=True, slots=True)
class Workload:
    """`streams` run at once, each with a prompt of `prompt_words` words, of which all share the first ones."""

    name: str
    streams: int
    prompt_words: int = 16
    tokens: int = 128
    shared_words: int = 0
    json_schema: str | None = None

    def asks(self, seed: int) -> Iterator[Ask]:
        """The same ones for the same seed, and none of another's: an engine remembers prompts."""
        chance = random.Random(f"{self.name} {seed}")
        shared = chance.choices(WORDS, k=self.shared_words)
        for _ in range(self.streams):
            own = chance.choices(WORDS, k=self.prompt_words - self.shared_words)
            yield Ask(" ".join([*shared, *own]), self.tokens, self.json_schema)


STREAMS = tuple(Workload(f"{streams} streams", streams) for streams in (1, 16, 64, 256))
LONG_PROMPTS = Workload("long prompts", 8, prompt_words=1000, tokens=16)
SHARED_PREFIXES = Workload("shared prefixes", 16, prompt_words=500, shared_words=480, tokens=32)
FREE = Workload("16 streams, 64 tokens", 16, tokens=64)
JSON_SCHEMA = Workload("JSON Schema", 16, tokens=64, json_schema=SCHEMA)
ALL = (*STREAMS, LONG_PROMPTS, SHARED_PREFIXES, FREE, JSON_SCHEMA)
QUICK = tuple(workload for workload in STREAMS if workload.streams in (1, 64))
