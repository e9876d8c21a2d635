"""A grammar, tried out before an engine gets it: it is compiled, and followed for a few tokens.

Compiling alone says too little. There are grammars that compile in a millisecond and then take seconds for each token,
in the step of the engine that all its requests share.
"""

import random
import time
from collections.abc import Callable, Iterator
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import xgrammar

from service.decoding.expressions import UnusableGrammar
from service.decoding.grammars import GrammarKind, read

STEPS = 64
# Processor time. An ordinary grammar stays below a fifth of it; one that goes beyond only gets slower.
STEP_CPU_S = 0.0013
FIRST_STEPS_CPU_S = 0.015
TOO_LONG_TO_FOLLOW = "It takes too long to follow: a text can be read in too many ways."
SHOWN_BYTES = 40
PUNCTUATION = '{}[]":,. \n'
SYLLABLES = [a + b for a, b in product("bcdfghjklmnprstvwz", "aeiou")]


def try_out(kind: GrammarKind, text: str, compiled: Callable[[], None]) -> None:
    """Calls `compiled` when the first half is done. Raises UnusableGrammar for what can't be read or followed.

    It takes as long as it takes, which may be for ever: whoever calls it sets the limit.
    """
    tokens, tokenizer = small_vocabulary()
    compiler = xgrammar.GrammarCompiler(tokenizer, max_threads=1)
    grammar = compiler.compile_grammar(read(kind, text))
    compiled()
    _follow(xgrammar.GrammarMatcher(grammar), tokens)


@cache
def small_vocabulary() -> tuple[list[bytes], Any]:
    """Two thousand tokens of the sorts that models have: a tenth or less of theirs, and of their cost."""
    tokens = list(dict.fromkeys(_tokens()))
    return tokens, xgrammar.TokenizerInfo(tokens)


def _tokens() -> Iterator[bytes]:
    yield from (bytes([value]) for value in range(256))
    yield from ((a + b).encode() for a, b in product(PUNCTUATION, PUNCTUATION))
    yield from ((char * count).encode() for char in "ax0 -=" for count in (2, 3, 4, 8, 16))
    yield from (str(number).encode() for number in range(10, 1000, 7))
    for first in SYLLABLES:
        for word in (first, first * 2, first + "ton", f"{first}n"):
            yield from (word.encode(), f" {word}".encode(), word.title().encode())
    for first, second in product(SYLLABLES[::10], SYLLABLES[::5]):
        yield from ((first + second).encode(), f" {first}{second}s".encode())
    yield from (text.encode() for text in ("é", "ü", "ß", "東", "京", "東京", "あ", "🦊"))


def _follow(matcher: Any, tokens: list[bytes]) -> None:
    """Writes a text that the grammar allows, in long tokens: they show ambiguities soonest."""
    chance = random.Random(1)
    mask = xgrammar.allocate_token_bitmask(1, len(tokens))
    by_length = np.argsort([-len(token) for token in tokens], kind="stable")
    written = b""
    begun_s = time.process_time()
    for step in range(STEPS):
        if time.process_time() - begun_s > FIRST_STEPS_CPU_S + step * STEP_CPU_S:
            raise UnusableGrammar(TOO_LONG_TO_FOLLOW)
        matcher.fill_next_token_bitmask(mask)
        allowed = np.unpackbits(mask[0].numpy().view(np.uint8), bitorder="little")[: len(tokens)]
        longest = by_length[allowed[by_length] == 1][:40]
        if not len(longest) and not matcher.is_completed():
            raise UnusableGrammar(_dead_end(written))
        token = int(chance.choice(longest)) if len(longest) else None
        if token is not None and matcher.accept_token(token):
            written += tokens[token]
        else:
            matcher.reset()
            written = b""


def _dead_end(written: bytes) -> str:
    """An engine could neither go on there nor end, and would fail."""
    if not written:
        return "No text belongs to it."
    shown = written[-SHOWN_BYTES:].decode(errors="replace")
    return f"It has a dead end: after {shown!r} nothing can follow, and no text ends there."
