"""Log probabilities in the contract's shape, from what engines report: token ids, values and ranks."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from service.api.sampling import TokenLogProb, TokenLogProbs
from service.prompts.tokenizer import Tokenizer


class Candidate(NamedTuple):
    """A token at one position; `rank` counts from 1."""

    token_id: int
    logprob: float
    rank: int


def position(tokenizer: Tokenizer, sampled_id: int, candidates: Iterable[Candidate], top_k: int) -> TokenLogProbs:
    """One position. `candidates` hold the sampled token and at least the `top_k` most likely ones, in any order."""
    tokens = {candidate.token_id: _token(tokenizer, candidate) for candidate in candidates}
    top = sorted(tokens.values(), key=lambda token: token.rank)[:top_k]
    return TokenLogProbs(logprobs_by_token=_by_text(top), token=tokens[sampled_id], top=top)


def _token(tokenizer: Tokenizer, candidate: Candidate) -> TokenLogProb:
    token_bytes = tokenizer.token_bytes(candidate.token_id)
    return TokenLogProb(
        token_id=candidate.token_id,
        text=token_bytes.decode(errors="replace"),
        token_bytes=token_bytes,
        logprob=candidate.logprob,
        rank=candidate.rank,
    )


def _by_text(top: Sequence[TokenLogProb]) -> dict[str, float]:
    """Exactly one entry per token, whatever their texts: see TokenLogProbs.logprobs_by_token."""
    by_text: dict[str, float] = {}
    for token in top:
        text = _readable(token.token_bytes)
        while text in by_text:
            text = f"{text}#{token.token_id}"
        by_text[text] = token.logprob
    return by_text


def _readable(token_bytes: bytes) -> str:
    try:
        return token_bytes.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in token_bytes)
