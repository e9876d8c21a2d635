"""What the contenders have to do: so many streams at once, so long prompts, so long answers."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

WARM_UP_STREAMS, WARM_UP_TOKENS = 8, 32
SCHEMA = (
    '{"type": "object", "properties": {"name": {"type": "string", "maxLength": 40}, "age": {"type": "integer"}, '
    '"tags": {"type": "array", "items": {"type": "string", "maxLength": 20}, "maxItems": 8}}, '
    '"required": ["name", "age", "tags"], "additionalProperties": false}'
)
TOOL_NAME = "register_person"
TOOL_DESCRIPTION = "Adds a person to the register."
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
    """One text to continue by exactly so many tokens.

    With `json_schema`, by a JSON value of at most so many. With `tool_schema` it is said in a chat, and the answer has
    to be a call of the one tool, whose arguments fit this schema.
    """

    prompt: str
    tokens: int
    json_schema: str | None = None
    tool_schema: str | None = None

    @property
    def is_constrained(self) -> bool:
        return bool(self.json_schema or self.tool_schema)


@dataclass(frozen=True, slots=True)
class Workload:
    """`streams` run at once, each with a prompt of `prompt_words` words, of which all share the first ones."""

    name: str
    streams: int
    prompt_words: int = 16
    tokens: int = 128
    shared_words: int = 0
    json_schema: str | None = None
    tool_schema: str | None = None

    def asks(self, seed: int) -> Iterator[Ask]:
        """The same ones for the same seed, and none of another's: an engine remembers prompts."""
        chance = random.Random(f"{self.name} {seed}")
        shared = chance.choices(WORDS, k=self.shared_words)
        for _ in range(self.streams):
            own = chance.choices(WORDS, k=self.prompt_words - self.shared_words)
            yield Ask(" ".join([*shared, *own]), self.tokens, self.json_schema, self.tool_schema)


STREAMS = tuple(
    Workload("1 stream" if streams == 1 else f"{streams} streams", streams) for streams in (1, 8, 16, 32, 64, 256, 512)
)
LONG_PROMPTS = Workload("long prompts", 8, prompt_words=1000, tokens=16)
SHARED_PREFIXES = Workload("shared prefixes", 16, prompt_words=500, shared_words=480, tokens=32)
PROMPTS = (LONG_PROMPTS, SHARED_PREFIXES)
FREE = Workload("unconstrained", 16, tokens=64)
JSON_SCHEMA = Workload("JSON Schema", 16, tokens=64, json_schema=SCHEMA)
TOOL_CALLS = Workload("tool calls", 16, tokens=64, tool_schema=SCHEMA)
CONSTRAINED = (FREE, JSON_SCHEMA, TOOL_CALLS)


def warm_ups(workloads: Sequence[Workload]) -> Iterator[Workload]:
    """One that is free, and one for each schema: its first use is not what is measured."""
    yield Workload("warm-up", WARM_UP_STREAMS, tokens=WARM_UP_TOKENS)
    for workload in workloads:
        if workload.json_schema or workload.tool_schema:
            yield replace(workload, name="warm-up", streams=WARM_UP_STREAMS, tokens=WARM_UP_TOKENS)
