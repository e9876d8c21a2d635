"""The control tokens of a model: where a text spells them, and a tokenizer that knows them by secret names only."""

import json
import re
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, cast

from tokenizers import Tokenizer as FastTokenizer

BYTE_PIECE = re.compile(r"<0x([0-9A-F]{2})>")
WORD_START = "\u2581"
BLANKS = frozenset({" ", "\t", "\n", "\r", WORD_START})
# Without signs, which nearly all control tokens begin and end with.
WORD = re.compile(r"[A-Za-z0-9_.-]*")


@dataclass(frozen=True, slots=True)
class ControlSpan:
    """A place in a text that a tokenizer takes for a control token."""

    spelling: str
    start: int
    end: int


class ControlTokens:
    """Every added token is one, special or not, but for those that stand for characters of a text."""

    def __init__(self, tokenizer: FastTokenizer) -> None:
        state = json.loads(tokenizer.to_str())
        self._tokens = {token["id"]: token for token in state["added_tokens"] if _is_control(token, state["model"])}
        self._normalizer = tokenizer.normalizer
        self._unknown_id = _unknown_id(state["model"])
        self._unknown = self._normalized(self._tokens.get(self._unknown_id, {}).get("content", ""))
        self.ids: dict[str, int] = {token["content"]: token_id for token_id, token in self._tokens.items()}
        # Random, so that nobody can write one.
        self._secret_names = {spelling: f"{spelling}{secrets.token_hex(8)}" for spelling in self.ids}
        self.guarded = _renamed(state, self._secret_names)
        """The same tokenizer, to which control tokens are ordinary text, unless called by their secret names."""
        self._spellings = "\n".join(self.ids).casefold()
        self._some_are_words = any(WORD.fullmatch(end) for token in self.ids for end in (token[0], token[-1]))

    def spans(self, text: str, encoding: Any) -> list[ControlSpan]:
        """Where a text, encoded with control tokens, spells them."""
        spans = []
        for token_id, (start, end) in zip(encoding.ids, encoding.offsets, strict=True):
            if token_id in self._tokens and (span := self._span(text, token_id, start, end)):
                spans.append(span)
        return spans

    def in_secret(self, text: str, encoding: Any) -> str:
        """The same text for `guarded`."""
        pieces, done = [], 0
        for span in self.spans(text, encoding):
            pieces += [text[done : span.start], self._secret_names[span.spelling]]
            done = span.end
        return "".join([*pieces, text[done:]])

    def may_hold(self, word: str) -> bool:
        """Whether a word of letters and digits, wherever it is put, could become a part of a control token."""
        return self._some_are_words or word.casefold() in self._spellings

    def _span(self, text: str, token_id: int, start: int, end: int) -> ControlSpan | None:
        token = self._tokens[token_id]
        # Some take the blanks beside them in, which spell nothing.
        if token["lstrip"]:
            start = end - len(text[start:end].lstrip())
        if token["rstrip"]:
            end = start + len(text[start:end].rstrip())
        # The token for unknown characters stands for these, too.
        is_spelled = token_id != self._unknown_id or self._unknown in self._normalized(text[start:end])
        return ControlSpan(token["content"], start, end) if start < end and is_spelled else None

    def _normalized(self, text: str) -> str:
        return str(self._normalizer.normalize_str(text)) if self._normalizer else text


def _is_control(token: Mapping[str, Any], model: Mapping[str, Any]) -> bool:
    """Not so the indentation, the single characters and the bytes that some models add."""
    content = token["content"]
    if len(content) == 1:
        return token["special"] and content not in BLANKS and content not in _pieces(model)
    return not set(content) <= BLANKS and not BYTE_PIECE.fullmatch(content)


def _pieces(model: Mapping[str, Any]) -> Collection[str]:
    return {piece for piece, _ in model["vocab"]} if model["type"] == "Unigram" else model["vocab"].keys()


def _unknown_id(model: Mapping[str, Any]) -> int | None:
    """The id of the token for whatever the model has no piece for."""
    found = model.get("unk_id") if model["type"] == "Unigram" else model["vocab"].get(model.get("unk_token"))
    return cast("int | None", found)


def _renamed(state: Mapping[str, Any], names: Mapping[str, str]) -> FastTokenizer:
    """The same tokenizer with other names for some tokens. Their ids stay."""
    added = [{**token, "content": names.get(token["content"], token["content"])} for token in state["added_tokens"]]
    return FastTokenizer.from_str(
        json.dumps({**state, "added_tokens": added, "model": _renamed_model(state["model"], names)})
    )


def _renamed_model(model: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Many models have their control tokens in the ordinary vocabulary, too, where a text that spells one finds it."""
    if model["type"] == "Unigram":
        return {**model, "vocab": [(names.get(piece, piece), score) for piece, score in model["vocab"]]}
    renamed = {**model, "vocab": {names.get(piece, piece): token_id for piece, token_id in model["vocab"].items()}}
    if "merges" in model:
        renamed["merges"] = [pair for pair in model["merges"] if not names.keys() & {"".join(pair), *pair}]
    if model.get("unk_token") in names:
        renamed["unk_token"] = names[model["unk_token"]]
    return renamed
