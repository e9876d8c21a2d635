"""What the decoder is held to: whether a format lets a text pass, and texts written by following it at random."""

import json
import random
from functools import cache
from typing import Any

import numpy
import xgrammar

from service.tool_formats.constraining import Format, structural_tag

END = 256
# What closes something: preferred, lest texts grow without end.
CLOSING = frozenset(b"\"'})]>/")
LETTERS = frozenset(b"abcdefghijklmnopqrstuvwxyz")


@cache
def _compiler() -> Any:
    """For a model with a token for each byte, and one that ends the answer."""
    vocabulary = [bytes([byte]) for byte in range(256)] + [b"</s>"]
    tokenizer = xgrammar.TokenizerInfo(vocabulary, xgrammar.VocabType.RAW, stop_token_ids=[END])
    return xgrammar.GrammarCompiler(tokenizer, max_threads=1)


class Decoder:
    """Held to one format."""

    def __init__(self, content: Format) -> None:
        self._grammar = _compiler().compile_structural_tag(json.dumps(structural_tag(content)))

    def accepts(self, text: str) -> bool:
        """Whether an answer may be this text, as a whole."""
        matcher = xgrammar.GrammarMatcher(self._grammar)
        return all(matcher.accept_token(byte) for byte in text.encode()) and bool(matcher.accept_token(END))

    def write(self, chance: random.Random, patience: int = 400) -> str:
        """An answer, one allowed byte at a time. Without `patience` left it ends or closes things where it may."""
        matcher = xgrammar.GrammarMatcher(self._grammar)
        written = bytearray()
        while (token := _chosen(_allowed(matcher, written), chance, hasty=len(written) > patience)) != END:
            assert matcher.accept_token(token)
            written.append(token)
        return written.decode()


def _allowed(matcher: Any, written: bytearray) -> list[int]:
    """Without halves of surrogate pairs, which grammars let pass, and no text can hold."""
    mask = xgrammar.allocate_token_bitmask(1, END + 1)
    matcher.fill_next_token_bitmask(mask)
    bits = numpy.unpackbits(mask[0].numpy().view(numpy.uint8), bitorder="little")
    found: list[int] = bits[: END + 1].nonzero()[0].tolist()
    return [token for token in found if token < 0xA0 or token == END] if written[-1:] == b"\xed" else found


def _chosen(allowed: list[int], chance: random.Random, hasty: bool) -> int:
    """Ends and closes things more often than pure chance would."""
    assert allowed, "the grammar has a dead end"
    closing = [token for token in allowed if token in CLOSING]
    if END in allowed and (hasty or chance.random() < 0.4):
        return END
    if closing and (hasty or chance.random() < 0.3):
        return chance.choice(closing)
    plain = [token for token in allowed if token in LETTERS]
    return chance.choice(plain if plain and chance.random() < 0.3 else allowed)
