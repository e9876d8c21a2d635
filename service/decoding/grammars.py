"""Grammars, as the decoder's own library reads them: what it can't read is known before an engine sees it."""

import re
from collections.abc import Callable
from typing import Any

import xgrammar

# The library opens its messages with a time and a place in its own source.
MESSAGE_PREFIX = re.compile(r"^\[[\d:]+\] \S+: ")


class UnusableGrammar(ValueError):
    """The grammar can't be used; the message says why."""


def from_ebnf(text: str) -> Any:
    return _read(xgrammar.Grammar.from_ebnf, text)


def from_regex(pattern: str) -> Any:
    return _read(xgrammar.Grammar.from_regex, pattern)


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
    compiled = xgrammar.GrammarCompiler(xgrammar.TokenizerInfo([])).compile_grammar(grammar)
    matcher = xgrammar.GrammarMatcher(compiled, terminate_without_stop_token=True)
    return bool(matcher.accept_string(text) and matcher.is_terminated())


def _read(reader: Callable[[str], Any], text: str) -> Any:
    try:
        return reader(text)
    except (RuntimeError, ValueError, TypeError) as error:
        message = MESSAGE_PREFIX.sub("", str(error).strip()).rstrip(".")
        raise UnusableGrammar(f"{message}.") from None
