"""Log probabilities come with the text that their tokens are a part of: in order, once, never early."""

from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise

from hypothesis import given
from hypothesis import strategies as st

from service.api.sampling import TokenLogProb, TokenLogProbs
from service.inference.logprobs import LogprobAligner

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=" "), min_size=1, max_size=40)
cut_points = st.sets(st.integers(0, 160))


def pieces(whole: Sequence[int] | bytes | str, cuts: Iterable[int]) -> list[slice]:
    places = sorted({cut for cut in cuts if 0 < cut < len(whole)} | {0, len(whole)})
    return [slice(a, b) for a, b in pairwise(places)]


def positions(tokens: Sequence[bytes]) -> list[TokenLogProbs]:
    """One position per token; a token's id is its place."""
    return [
        TokenLogProbs({}, TokenLogProb(i, part.decode(errors="replace"), part, -1.0, 1), ())
        for i, part in enumerate(tokens)
    ]


def aligned(tokens: Sequence[bytes], deltas: Sequence[str], ahead: int) -> list[list[int]]:
    """The ids that come with each delta, when the engine is `ahead` tokens before the text or as little as it may."""
    aligner = LogprobAligner(tokens.__getitem__)
    waiting = positions(tokens)
    ends = list(accumulate(len(token) for token in tokens))
    found = []
    shown = generated = 0
    for delta in deltas:
        shown += len(delta.encode())
        needed = next(i for i, end in enumerate(ends, start=1) if end >= shown)
        upto = min(len(tokens), max(needed + ahead, generated))
        aligner.generated(waiting[generated:upto])
        generated = upto
        found.append([position.token.token_id for position in aligner.delivered(delta)])
    return found


@given(text=texts, token_cuts=cut_points, text_cuts=cut_points, ahead=st.integers(0, 3))
def test_each_token_comes_once_in_order_with_the_first_text_that_it_is_a_part_of(
    text: str, token_cuts: set[int], text_cuts: set[int], ahead: int
) -> None:
    encoded = text.encode()
    token_slices = pieces(encoded, token_cuts)
    delta_slices = pieces(text, text_cuts)
    found = aligned([encoded[s] for s in token_slices], [text[s] for s in delta_slices], ahead)

    assert [i for ids in found for i in ids] == list(range(len(token_slices)))
    for ids, delta in zip(found, delta_slices, strict=True):
        begin, end = len(text[: delta.start].encode()), len(text[: delta.stop].encode())
        assert all(begin <= token_slices[i].start < end for i in ids)


@given(text=texts, token_cuts=cut_points, text_cuts=cut_points, ahead=st.integers(0, 3))
def test_streamed_or_not_they_are_the_same(text: str, token_cuts: set[int], text_cuts: set[int], ahead: int) -> None:
    encoded = text.encode()
    tokens = [encoded[s] for s in pieces(encoded, token_cuts)]
    streamed = aligned(tokens, [text[s] for s in pieces(text, text_cuts)], ahead)
    assert [i for ids in streamed for i in ids] == aligned(tokens, [text], 0)[0]


@given(text=texts, token_cuts=cut_points)
def test_a_space_that_is_not_shown_counts_for_its_token(text: str, token_cuts: set[int]) -> None:
    """Sentencepiece begins every text with one."""
    encoded = f" {text}".encode()
    tokens = [encoded[s] for s in pieces(encoded, token_cuts)]
    aligner = LogprobAligner(tokens.__getitem__)
    aligner.generated(positions(tokens))
    assert len(aligner.delivered(text)) == len(tokens)
    assert aligner.delivered("more") == []


def test_a_space_that_is_shown_is_text() -> None:
    tokens = [b" a", b" b"]
    aligner = LogprobAligner(tokens.__getitem__)
    aligner.generated(positions(tokens))
    assert [position.token.token_id for position in aligner.delivered(" a")] == [0]


def test_tokens_whose_text_was_dropped_never_come() -> None:
    tokens = [b"Hi", b"<st", b"op>"]
    aligner = LogprobAligner(tokens.__getitem__)
    aligner.generated(positions(tokens))
    assert [position.token.token_id for position in aligner.delivered("Hi")] == [0]
    assert aligner.delivered("") == []


def test_a_token_that_shows_nothing_has_no_part_in_the_text() -> None:
    tokens = [b"", b"a", b"", b"b", b""]
    aligner = LogprobAligner(tokens.__getitem__)
    aligner.generated(positions(tokens))
    assert [position.token.token_id for position in aligner.delivered("ab")] == [1, 3]
