"""Grammars, as the decoder's own library reads them: what it can't read is known before an engine sees it."""

import re
import time
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

import xgrammar

from service.decoding.expressions import UnusableGrammar

# The library opens its messages with a time and a place in its own source, and some with the check that failed.
MESSAGE_PREFIX = re.compile(r"^\[[\d:]+\] \S+: (Check failed: \(.*?\) is false: )?")
# An escaped character, a character class, or a character.
REGEX_PART = re.compile(r"\\.|\[\^?(?:\\.|[^\]\\])*\]|.", re.DOTALL)
REGEX_ESCAPES = frozenset("bcdefnrstuvwxDSW")
# A text is followed in pieces, so that one that takes long can be left.
PIECE = 64


class GrammarKind(StrEnum):
    """What the decoder's library reads."""

    JSON_SCHEMA = "json_schema"
    EBNF = "ebnf"
    REGEX = "regex"
    STRUCTURAL_TAG = "structural_tag"
    """xgrammar's structural tags, as JSON: free text and constrained text by turns."""


class TooSlow(Exception):
    """It could not be told in time whether a text has its shape."""


def read(kind: GrammarKind, text: str) -> Any:
    """Raises UnusableGrammar for what can't be read.

    It may take for ever: for what a caller sent, see compile_check. Only what has passed that is read in this process.
    """
    try:
        return READERS[kind](text)
    except UnusableGrammar:
        raise
    except (RuntimeError, ValueError, TypeError) as error:
        message = MESSAGE_PREFIX.sub("", str(error).strip()).rstrip(".")
        raise UnusableGrammar(f"{message}.") from None


def _read_regex(pattern: str) -> Any:
    grammar = xgrammar.Grammar.from_regex(pattern)
    _refuse_misread(pattern)
    return grammar


READERS: Mapping[GrammarKind, Callable[[str], Any]] = {
    GrammarKind.JSON_SCHEMA: xgrammar.Grammar.from_json_schema,
    GrammarKind.EBNF: xgrammar.Grammar.from_ebnf,
    GrammarKind.REGEX: _read_regex,
    GrammarKind.STRUCTURAL_TAG: xgrammar.Grammar.from_structural_tag,
}


def accepts(kind: GrammarKind, grammar: str, text: str, cpu_s: float = 1.0) -> bool:
    """Whether the whole text belongs to the grammar. Raises TooSlow after so much processor time of this thread."""
    deadline = time.thread_time() + cpu_s
    # With its cache the library reads grammars again as it prints them: `ß` before `e` becomes another letter.
    compiler = xgrammar.GrammarCompiler(xgrammar.TokenizerInfo([]), max_threads=1, cache_enabled=False)
    compiled = compiler.compile_grammar(read(kind, grammar))
    matcher = xgrammar.GrammarMatcher(compiled, terminate_without_stop_token=True)
    content = text.encode()
    for start in range(0, max(1, len(content)), PIECE):
        if not matcher.accept_string(content[start : start + PIECE]):
            return False
        if time.thread_time() > deadline:
            raise TooSlow
    return bool(matcher.is_terminated())


def _refuse_misread(pattern: str) -> None:
    """Raises for what the library takes without an error, for something else than it is: with a warning on stderr."""
    parts = REGEX_PART.findall(pattern)
    for escaped in re.findall(r"\\([A-Za-z0-9])", "".join(part for part in parts if len(part) > 1)):
        if escaped not in REGEX_ESCAPES:
            raise UnusableGrammar(f"The escape `\\{escaped}` is not supported.")
    for before, part, after in zip(["(", *parts], parts, [*parts[1:], ")"], strict=False):
        if (part == "^" and before not in "(|:") or (part == "$" and after not in ")|"):
            raise UnusableGrammar(f"`{part}` is only supported at the start or the end of an alternative.")
