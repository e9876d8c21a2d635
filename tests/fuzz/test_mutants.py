"""The fuzzer itself: what it sends can be sent again, reaches everything, and what it looks for it finds."""

from typing import Any

import pytest
from google.protobuf.message import DecodeError

from tests.fuzz.methods import METHODS
from tests.fuzz.mutants import WAYS, Mutant, mutant, mutants
from tests.fuzz.outcomes import Code, Outcome, leaks, problems
from tests.fuzz.seeds import SEEDS
from tests.fuzz.wire_format import encoded, levels, parts_of

SEVERAL = 3000
ALL_SEEDS = [seed for seeds in SEEDS.values() for seed in seeds]


def sent(**changed: Any) -> Mutant:
    fields = {"number": 0, "method": METHODS["GetModel"], "way": "valid", "requests": (b"",), "metadata": ()}
    return Mutant(**{"timeout_s": None, **fields, **changed})


def test_a_mutant_is_made_from_its_numbers_alone() -> None:
    assert list(mutants(7, 20, first=80)) == list(mutants(7, 100))[80:]
    assert mutant(7, 3) != mutant(8, 3)


def test_every_method_and_every_way_are_among_the_mutants() -> None:
    assert set(SEEDS) == set(METHODS)
    made = list(mutants(1, SEVERAL))
    assert {(m.method.name, m.way) for m in made} >= {(name, "fields") for name in METHODS}
    assert {m.way for m in made} == set(WAYS)
    assert any(m.metadata for m in made)
    assert any(m.in_a_hurry for m in made)


def test_no_request_to_drain_would_be_followed() -> None:
    for made in mutants(1, SEVERAL):
        for data in made.requests if made.method.name == "Drain" else ():
            try:
                request = METHODS["Drain"].request().FromString(data)
            except DecodeError:
                continue
            assert min(request.withdrawal_window.ToNanoseconds(), request.budget.ToNanoseconds()) < 0


@pytest.mark.parametrize("seed", ALL_SEEDS, ids=lambda seed: seed.method.name)
def test_a_message_taken_to_pieces_is_put_together_again(seed: Any) -> None:
    data = seed.message.SerializeToString()
    parts = parts_of(data, seed.message.DESCRIPTOR)
    assert encoded(parts) == data
    assert not parts or len(list(levels(parts))) >= 1


@pytest.mark.parametrize(
    "text",
    [
        "Unexpected <class 'google.protobuf.message.DecodeError'>: Error",
        'File "/srv/app/service/rpc/chat.py", line 3, in f',
        "Can't read /etc/passwd.",
        "at 'grammar.cc:120'",
        "ValueError: no",
        "For further information visit https://errors.pydantic.dev/2/v/missing",
        "<Call object at 0x7f1b749b4bf0>",
        "xgrammar says no",
    ],
)
def test_what_tells_of_the_inside_is_a_leak(text: str) -> None:
    assert leaks(text, "")


@pytest.mark.parametrize(
    "text",
    [
        "messages[0].user.content: One of text, items is required.",
        "At $.properties.a, `#/$defs/a` leads to no schema.",
        "The request is not a valid protobuf message of this method.",
        "It takes too long to compile.",
        "inferwire-prompt-tokens: 0",
    ],
)
def test_sentences_for_callers_are_none(text: str) -> None:
    assert leaks(text, "") == []


def test_what_the_caller_said_is_no_leak() -> None:
    assert leaks("There is no model /models/vllm/a.py.", "/models/vllm/a.py") == []


@pytest.mark.parametrize("code", [Code.INTERNAL, Code.UNKNOWN, Code.UNAVAILABLE, Code.ABORTED, Code.DATA_LOSS])
def test_a_failure_of_the_server_is_a_problem(code: Code) -> None:
    assert problems(sent(), Outcome(code, reason="R", request_id="1")) == [f"the status {code.name}"]


def test_an_error_of_ours_has_a_reason_and_a_request_id() -> None:
    bare = Outcome(Code.INVALID_ARGUMENT)
    assert problems(sent(), bare) == ["an error without its reason or request id"]
    assert problems(sent(method=METHODS["Check"]), bare) == []
    assert problems(sent(), Outcome(Code.INVALID_ARGUMENT, reason="R", request_id="1")) == []
    assert problems(sent(), Outcome(Code.OK)) == []
