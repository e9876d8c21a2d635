"""A model's tokenizer, made safe for text from strangers: control tokens spelled in it are read as plain text."""

import json
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from tokenizers import Tokenizer as FastTokenizer
from transformers import AutoTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

BYTE_PIECE = re.compile(r"<0x([0-9A-F]{2})>")
# Characters; hardly any token of a text is longer.
LONG_TOKEN = 16
WORD_START = "\u2581"


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a prompt. Untrusted text came from a caller and may spell control tokens."""

    text: str
    trusted: bool


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model reads; `neutralized_spans` counts untrusted segments that spelled control tokens."""

    text: str
    token_ids: list[int]
    neutralized_spans: int


class Tokenizer:
    """Text to token ids and tokens to bytes, for one model."""

    def __init__(self, pretrained: Any) -> None:
        if not pretrained.is_fast:
            raise ValueError("The model has no fast tokenizer (tokenizer.json), which this server needs.")
        self.pretrained = pretrained
        self._fast = _bare(pretrained.backend_tokenizer.to_str())
        added = self._fast.get_added_tokens_decoder()
        self.control_tokens = {token.content: i for i, token in added.items() if _is_control(token.content)}
        self._control_ids = frozenset(self.control_tokens.values())
        self._plain = _without_control_tokens(self._fast)
        self.prefix_ids, self.suffix_ids = _special_ids_around_text(self._fast)
        self._special_ids = frozenset(i for i, token in added.items() if token.special)
        self._token_bytes = lru_cache(maxsize=None)(_token_bytes_of(self._fast))

    @classmethod
    def load(cls, path: str) -> "Tokenizer":
        return cls(AutoTokenizer.from_pretrained(path))

    @property
    def vocabulary_size(self) -> int:
        size: int = self._fast.get_vocab_size(with_added_tokens=True)
        return size

    def encode(self, segments: Sequence[Segment]) -> Prompt:
        """Token ids of the joined segments, without the model's special tokens around them.

        As long as no untrusted segment spells a control token, these are the ids of the joined text as a whole.
        """
        text = "".join(segment.text for segment in segments)
        encoding = _encoded(self._fast, text)
        offending = self._offending(segments, encoding)
        if not offending:
            return Prompt(text, encoding.ids, 0)
        ids: list[int] = []
        found = len(offending)
        for run in _runs(segments, offending):
            if isinstance(run, Segment):
                ids += self._encode_plain(run.text)
                continue
            # Once more: with a neighbour gone, the rest may spell another control token.
            rest = self.encode(run)
            ids += rest.token_ids
            found += rest.neutralized_spans
        return Prompt(text, ids, found)

    def encode_untrusted(self, text: str) -> Prompt:
        return self.encode([Segment(text, trusted=False)])

    def surely_exceeds(self, text: str, limit: int) -> bool:
        """Whether a text has more than `limit` tokens, told from its beginning: megabytes take seconds to encode.

        False for a text of reasonable length, which has to be encoded to know.
        """
        head = text[: LONG_TOKEN * limit]
        # A word that the cut went through may have more tokens than as a whole.
        return len(head) < len(text) and len(self._encode_plain(head)) > limit + LONG_TOKEN

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes that a token stands for; of an added token, its spelling."""
        found: bytes = self._token_bytes(token_id)
        return found

    def visible_bytes(self, token_id: int) -> bytes:
        """What a token adds to a generated text: special tokens add nothing."""
        return b"" if token_id in self._special_ids else self.token_bytes(token_id)

    def _offending(self, segments: Sequence[Segment], encoding: Any) -> frozenset[int]:
        """The indexes of untrusted segments that a control token touches."""
        touched = [
            span
            for token_id, span in zip(encoding.ids, encoding.offsets, strict=True)
            if token_id in self._control_ids and span[0] < span[1]
        ]
        found = set()
        start = 0
        for index, segment in enumerate(segments):
            end = start + len(segment.text)
            if not segment.trusted and any(a < end and b > start for a, b in touched):
                found.add(index)
            start = end
        return frozenset(found)

    def _encode_plain(self, text: str) -> list[int]:
        ids: list[int] = _encoded(self._plain, text).ids
        return ids


def _encoded(tokenizer: FastTokenizer, text: str) -> Any:
    """As a batch of one: `encode` would hold the interpreter's lock, and with it every other call, all along."""
    return tokenizer.encode_batch([text], add_special_tokens=False)[0]


def _runs(segments: Sequence[Segment], offending: frozenset[int]) -> Iterator[Segment | list[Segment]]:
    """Offending segments alone, the others in between as lists."""
    others: list[Segment] = []
    for index, segment in enumerate(segments):
        if index not in offending:
            others.append(segment)
            continue
        if others:
            yield others
        yield segment
        others = []
    if others:
        yield others


def _bare(serialized: str) -> FastTokenizer:
    """A copy that neither pads nor cuts: some models bake both into their tokenizer file."""
    tokenizer = FastTokenizer.from_str(serialized)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _is_control(added_token: str) -> bool:
    """Every added token is, special or not, but for the characters and the indentation that some models add as such."""
    return len(added_token) > 1 and not set(added_token) <= {" ", "\t", "\n", "\r", WORD_START}


def _without_control_tokens(tokenizer: FastTokenizer) -> FastTokenizer:
    """The same tokenizer, to which control tokens are ordinary text."""
    state = json.loads(tokenizer.to_str())
    spellings = [token["content"] for token in state["added_tokens"] if _is_control(token["content"])]
    state["added_tokens"] = [token for token in state["added_tokens"] if token["content"] not in spellings]
    _rename_pieces(state["model"], {spelling: f"{spelling}{secrets.token_hex(8)}" for spelling in spellings})
    return FastTokenizer.from_str(json.dumps(state))


def _rename_pieces(model: dict[str, Any], names: Mapping[str, str]) -> None:
    """Gives pieces of the vocabulary names that nobody can write. Their ids stay.

    Many models have their control tokens in the ordinary vocabulary, too, where a text that spells one finds it.
    """
    if model["type"] == "Unigram":
        model["vocab"] = [(names.get(piece, piece), score) for piece, score in model["vocab"]]
        return
    model["vocab"] = {names.get(piece, piece): token_id for piece, token_id in model["vocab"].items()}
    if "merges" in model:
        model["merges"] = [pair for pair in model["merges"] if not names.keys() & {"".join(pair), *pair}]
    if model.get("unk_token") in names:
        model["unk_token"] = names[model["unk_token"]]


def _special_ids_around_text(tokenizer: FastTokenizer) -> tuple[list[int], list[int]]:
    """The ids that the model wants before and after every text, such as a beginning-of-text token."""
    encoding = tokenizer.encode("a", add_special_tokens=True)
    content = [i for i, special in enumerate(encoding.special_tokens_mask) if not special]
    return encoding.ids[: content[0]], encoding.ids[content[-1] + 1 :]


def _token_bytes_of(tokenizer: FastTokenizer) -> Any:
    added = {i: token.content for i, token in tokenizer.get_added_tokens_decoder().items()}
    decoder = json.loads(tokenizer.to_str()).get("decoder") or {}
    byte_level = "ByteLevel" in json.dumps(decoder)
    word_part = decoder.get("prefix") if decoder.get("type") == "WordPiece" else None
    byte_of = {char: byte for byte, char in bytes_to_unicode().items()}

    def token_bytes(token_id: int) -> bytes:
        if token_id in added:
            return added[token_id].encode()
        piece = tokenizer.id_to_token(token_id) or ""
        if byte_level and all(char in byte_of for char in piece):
            return bytes(byte_of[char] for char in piece)
        if match := BYTE_PIECE.fullmatch(piece):
            return bytes([int(match[1], 16)])
        if word_part:
            return piece.removeprefix(word_part).encode() if piece.startswith(word_part) else f" {piece}".encode()
        return piece.replace(WORD_START, " ").encode()

    return token_bytes
