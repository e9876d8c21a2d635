"""One position's log probabilities, in the contract's shape."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engines.logprobs import Candidate, position
from service.prompts.tokenizer import Tokenizer
from tests.prompts import small_tokenizers as small

TOKENIZER = Tokenizer(small.loaded(small.byte_fallback()))
A, BYTE_A = (TOKENIZER.pretrained.convert_tokens_to_ids(piece) for piece in ("a", "<0x61>"))
HALF, OTHER_HALF = (TOKENIZER.pretrained.convert_tokens_to_ids(piece) for piece in ("<0xE2>", "<0x82>"))
B = TOKENIZER.pretrained.convert_tokens_to_ids("b")


def candidates(*token_ids: int) -> list[Candidate]:
    return [Candidate(token_id, -float(rank), rank) for rank, token_id in enumerate(token_ids, start=1)]


def test_the_most_likely_are_ranked_and_the_sampled_one_is_told_apart() -> None:
    made = position(TOKENIZER, B, reversed([*candidates(A, HALF, B)]), top_k=2)
    assert [(token.token_id, token.rank) for token in made.top] == [(A, 1), (HALF, 2)]
    assert (made.token.token_id, made.token.logprob, made.token.rank) == (B, -3.0, 3)
    assert (made.token.text, made.token.token_bytes) == ("b", b"b")


def test_no_alternatives_leave_the_sampled_token() -> None:
    made = position(TOKENIZER, A, candidates(A), top_k=0)
    assert (list(made.top), dict(made.logprobs_by_token), made.token.token_id) == ([], {}, A)


def test_half_a_character_is_told_by_its_bytes() -> None:
    made = position(TOKENIZER, HALF, candidates(HALF, OTHER_HALF), top_k=2)
    assert dict(made.logprobs_by_token) == {"bytes:\\xe2": -1.0, "bytes:\\x82": -2.0}
    assert (made.token.text, made.token.token_bytes) == ("\ufffd", b"\xe2")


def test_of_two_tokens_with_the_same_text_the_less_likely_one_is_numbered() -> None:
    made = position(TOKENIZER, A, candidates(A, BYTE_A), top_k=2)
    assert dict(made.logprobs_by_token) == {"a": -1.0, f"a#{BYTE_A}": -2.0}


def test_a_number_that_is_another_tokens_text_is_no_collision() -> None:
    fast = small.byte_fallback()
    fast.add_tokens([f"a#{BYTE_A}"])
    impostor = fast.token_to_id(f"a#{BYTE_A}")
    made = position(Tokenizer(small.loaded(fast)), A, candidates(impostor, A, BYTE_A), top_k=3)
    assert sorted(made.logprobs_by_token.values()) == [-3.0, -2.0, -1.0]


@pytest.mark.parametrize("top_k", [1, 3, 20])
@given(data=st.data())
def test_there_are_exactly_as_many_entries_as_asked_for(top_k: int, data: st.DataObject) -> None:
    ids = st.lists(st.integers(0, TOKENIZER.vocabulary_size - 1), min_size=top_k + 1, max_size=top_k + 1, unique=True)
    chosen = data.draw(ids)
    sampled = data.draw(st.sampled_from(chosen))
    made = position(TOKENIZER, sampled, candidates(*chosen), top_k)
    assert len(made.logprobs_by_token) == len(made.top) == top_k
    assert [token.token_id for token in made.top] == chosen[:top_k]
    assert sorted(made.logprobs_by_token.values(), reverse=True) == [token.logprob for token in made.top]
