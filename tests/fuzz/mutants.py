"""Mutants: requests that no honest client sends. Each is made from two numbers alone, and so can be made again."""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from google.protobuf.message import DecodeError, Message

from tests.fuzz import hostile
from tests.fuzz.json_texts import mutate_texts
from tests.fuzz.methods import METHODS, Method
from tests.fuzz.mutations import mutate_bytes, mutate_fields, mutate_messages
from tests.fuzz.seeds import SEEDS

MAX_BYTES = 128 * 1024
"""Of nearly all: what fields repeated in repeated fields may grow to."""
WEIGHTS = {
    "ChatCompletion": 8,
    "StreamChatCompletion": 5,
    "Completion": 6,
    "StreamCompletion": 4,
    "Preflight": 8,
    "Embeddings": 6,
}
"""How many of a method for one of each other."""
# Texts cost most, as each new schema is tried.
WAYS = {"bytes": 6, "fields": 10, "messages": 8, "texts": 3, "another": 1, "random": 1, "valid": 1}
ODD_METADATA, TINY_DEADLINE, HUGE_DEADLINE = 0.1, 0.02, 0.02


@dataclass(frozen=True, slots=True)
class Mutant:
    number: int
    method: Method
    way: str
    """How it was made."""
    requests: tuple[bytes, ...]
    """One, but for a method that takes a stream."""
    metadata: tuple[tuple[str, str | bytes], ...]
    timeout_s: float | None
    """An odd one; None for the run's own."""

    @property
    def in_a_hurry(self) -> bool:
        return self.timeout_s is not None and self.timeout_s in hostile.TINY_TIMEOUTS_S


def mutants(seed: int, count: int, first: int = 0) -> Iterator[Mutant]:
    return (mutant(seed, number) for number in range(first, first + count))


def mutant(seed: int, number: int) -> Mutant:
    chance = Random(f"{seed} {number}")
    [name] = chance.choices(list(METHODS), [WEIGHTS.get(name, 1) for name in METHODS])
    [way] = chance.choices(list(WAYS), list(WAYS.values()))
    count = chance.choice((0, 1, 1, 2, 5)) if METHODS[name].descriptor.client_streaming else 1
    requests = tuple(_request(name, way, chance) for _ in range(count))
    metadata = chance.choice(hostile.METADATA) if chance.random() < ODD_METADATA else ()
    return Mutant(number, METHODS[name], way, requests, metadata, _timeout_s(chance))


def _timeout_s(chance: Random) -> float | None:
    draw = chance.random()
    if draw < TINY_DEADLINE:
        return chance.choice(hostile.TINY_TIMEOUTS_S)
    return chance.choice(hostile.HUGE_TIMEOUTS_S) if draw < TINY_DEADLINE + HUGE_DEADLINE else None


def _request(name: str, way: str, chance: Random) -> bytes:
    message = chance.choice(SEEDS[name]).message
    if way == "another":
        message = chance.choice(SEEDS[chance.choice(list(SEEDS))]).message
    data = _mutated(message, way, chance)[:MAX_BYTES]
    return _harmless(data) if name == "Drain" else data


def _mutated(message: Message, way: str, chance: Random) -> bytes:
    match way:
        case "bytes":
            return mutate_bytes(message.SerializeToString(), chance)
        case "fields":
            return mutate_fields(message, chance)
        case "messages":
            return mutate_messages(message, chance)
        case "texts":
            return mutate_texts(message, chance)
        case "random":
            return chance.randbytes(chance.randint(0, 64))
        case _:
            return message.SerializeToString()


def _harmless(data: bytes) -> bytes:
    """A request to drain that the server has to refuse, as an accepted one would end it: see `seeds`."""
    for attempt in (data, data + METHODS["Drain"].request(budget={"seconds": -1}).SerializeToString()):
        if not _may_drain(attempt):
            return attempt
    return b"\xff"


def _may_drain(data: bytes) -> bool:
    try:
        request = METHODS["Drain"].request().FromString(data)
    except DecodeError:
        return False
    return all(duration.ToNanoseconds() >= 0 for duration in (request.withdrawal_window, request.budget))
