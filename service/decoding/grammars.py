"""Grammars, as the decoder's own library reads them: what it can't read is known before an engine sees it."""

import re
from collections.abc import Callable
from typing import Any

import xgrammar

# The library opens its messages with a time and a place in its own source, and some with the check that failed.
MESSAGE_PREFIX = re.compile(r"^\[[\d:]+\] \S+: (Check failed: \(.*?\) is false: )?")
# An escaped character, a character class, or a character.
REGEX_PART = re.compile(r"\\.|\[\^?(?:\\.|[^\]\\])*\]|.", re.DOTALL)
REGEX_ESCAPES = frozenset("bcdefnrstuvwxDSW")


class UnusableGrammar(ValueError):
    """The grammar can't be used; the message says why."""


def from_ebnf(text: str) -> Any:
    return _read(xgrammar.Grammar.from_ebnf, text)


def from_regex(pattern: str) -> Any:
    grammar = _read(xgrammar.Grammar.from_regex, pattern)
    _refuse_misread(pattern)
    return grammar


def from_json_schema(schema_json: str) -> Any:
    return _read(xgrammar.Grammar.from_json_schema, schema_json)


def problem_of_regex(pattern: str) -> str | None:
    """Why a regular expression can't be enforced, or None."""
    try:
        from_regex(pattern)
    except UnusableGrammar as error:
        return str(error)
    return None


def accepts(grammar: Any, text: str) -> bool:
    """Whether the whole text belongs to the grammar."""
    # With its cache the library reads grammars again as it prints them: `ß` before `e` becomes another letter.
    compiler = xgrammar.GrammarCompiler(xgrammar.TokenizerInfo([]), cache_enabled=False)
    compiled = compiler.compile_grammar(grammar)
    matcher = xgrammar.GrammarMatcher(compiled, terminate_without_stop_token=True)
    return bool(matcher.accept_string(text) and matcher.is_terminated())


def _refuse_misread(pattern: str) -> None:
    """Raises for what the library takes without an error, for something else than it is: with a warning on stderr."""
    parts = REGEX_PART.findall(pattern)
    for escaped in re.findall(r"\\([A-Za-z0-9])", "".join(part for part in parts if len(part) > 1)):
        if escaped not in REGEX_ESCAPES:
            raise UnusableGrammar(f"The escape `\\{escaped}` is not supported.")
    for before, part, after in zip(["(", *parts], parts, [*parts[1:], ")"], strict=False):
        if (part == "^" and before not in "(|:") or (part == "$" and after not in ")|"):
            raise UnusableGrammar(f"`{part}` is only supported at the start or the end of an alternative.")


def _read(reader: Callable[[str], Any], text: str) -> Any:
    try:
        return reader(text)
    except (RuntimeError, ValueError, TypeError) as error:
        message = MESSAGE_PREFIX.sub("", str(error).strip()).rstrip(".")
        raise UnusableGrammar(f"{message}.") from None
