"""A model's tokenizer, made safe for text from strangers: control tokens spelled in it are read as plain text."""

import json
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, groupby
from typing import Any

from tokenizers import Tokenizer as FastTokenizer
from transformers import AutoTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

from service.prompts.control_tokens import BYTE_PIECE, WORD_START, ControlSpan, ControlTokens

# Characters; hardly any token of a text is longer.
LONG_TOKEN = 16
UINT32_MAX = 2**32 - 1
LONG_TEXT = 2000
"""So many characters take longer to encode than a thread to wake up."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a prompt. Untrusted text came from a caller and may spell control tokens."""

    text: str
    trusted: bool


class PreparedImages:
    """What an engine made of the images of a prompt. Goes with its token ids, and with any that continue them."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model reads; `neutralized_spans` counts the places where untrusted text spelled a control token.

    `images` are set once they were prepared, and then `token_ids` has theirs, too; `text` has what the model's prompts
    have in the place of each.
    """

    text: str
    token_ids: list[int]
    neutralized_spans: int
    images: PreparedImages | None = None


class Tokenizer:
    """Text to token ids and tokens to bytes, for one model."""

    def __init__(self, pretrained: Any) -> None:
        if not pretrained.is_fast:
            raise ValueError("The model has no fast tokenizer (tokenizer.json), which this server needs.")
        self.pretrained = pretrained
        self._fast = _bare(pretrained.backend_tokenizer.to_str())
        self._control = ControlTokens(self._fast)
        added = self._fast.get_added_tokens_decoder()
        self.prefix_ids, self.suffix_ids = _special_ids_around_text(self._fast)
        self._special_ids = frozenset(i for i, token in added.items() if token.special)
        self._token_bytes = lru_cache(maxsize=None)(_token_bytes_of(self._fast))

    @classmethod
    def load(cls, path: str) -> "Tokenizer":
        return cls(AutoTokenizer.from_pretrained(path))

    def with_chat_template(self, template: str) -> "Tokenizer":
        """The same, with another template for conversations."""
        changed = copy(self)
        changed.pretrained = copy(self.pretrained)
        changed.pretrained.chat_template = template
        return changed

    def same_tokens_as(self, serialized: bytes) -> bool:
        """Whether a tokenizer.json has the same tokens as this one. Raises ValueError for what isn't one."""
        try:
            other = FastTokenizer.from_buffer(serialized)
        except Exception as error:  # the library raises nothing more special
            raise ValueError("It is not a tokenizer.") from error
        return bool(other.get_vocab(True) == self._fast.get_vocab(True))

    @property
    def control_tokens(self) -> Mapping[str, int]:
        """Their ids by their spelling."""
        return self._control.ids

    def may_become_control(self, word: str) -> bool:
        """Whether a word of letters and digits, wherever it is put, could become a part of a control token."""
        return self._control.may_hold(word)

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
        spelled = _count_touching(segments, self._control.spans(text, encoding))
        if spelled:
            encoding = _encoded(self._control.guarded, self._in_secret(segments))
        return Prompt(text, encoding.ids, spelled)

    def encode_untrusted(self, text: str) -> Prompt:
        return self.encode([Segment(text, trusted=False)])

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Where in an untrusted text each of its tokens stands, in characters."""
        encoding = _encoded(self._fast, text)
        if self._control.spans(text, encoding):
            encoding = _encoded(self._control.guarded, text)
        spans: list[tuple[int, int]] = encoding.offsets
        return spans

    def has(self, token_id: int) -> bool:
        """Whether there is such a token; the ids of some models have gaps."""
        return 0 <= token_id <= UINT32_MAX and self._fast.id_to_token(token_id) is not None

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool) -> str:
        """As a batch of one, as in `_encoded`."""
        text: str = self._fast.decode_batch([token_ids], skip_special_tokens=skip_special_tokens)[0]
        return text

    def surely_exceeds(self, text: str, limit: int) -> bool:
        """Whether a text has more than `limit` tokens, told from its beginning: megabytes take seconds to encode.

        False for a text of reasonable length, which has to be encoded to know.
        """
        head = text[: LONG_TOKEN * limit]
        # A word that the cut went through may have more tokens than as a whole.
        return len(head) < len(text) and len(_encoded(self._control.guarded, head).ids) > limit + LONG_TOKEN

    def pair_sample(self) -> Any:
        """How the library encodes a pair of two short texts, special tokens included."""
        return self._fast.encode("a", "b", add_special_tokens=True)

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes that a token stands for; of an added token, its spelling."""
        found: bytes = self._token_bytes(token_id)
        return found

    def visible_bytes(self, token_id: int) -> bytes:
        """What a token adds to a generated text: special tokens add nothing."""
        return b"" if token_id in self._special_ids else self.token_bytes(token_id)

    def _in_secret(self, segments: Sequence[Segment]) -> str:
        """The text, in which what is trusted calls control tokens by their secret names."""
        runs = groupby((segment for segment in segments if segment.text), key=lambda segment: segment.trusted)
        texts = (("".join(segment.text for segment in run), trusted) for trusted, run in runs)
        return "".join(
            self._control.in_secret(text, _encoded(self._fast, text)) if trusted else text for text, trusted in texts
        )


def _encoded(tokenizer: FastTokenizer, text: str) -> Any:
    """A long text as a batch of one: `encode` would hold the interpreter's lock all along, and with it other calls.

    For a short one the threads of a batch take longer than the text.
    """
    if len(text) < LONG_TEXT:
        return tokenizer.encode(text, add_special_tokens=False)
    return tokenizer.encode_batch([text], add_special_tokens=False)[0]


def _count_touching(segments: Sequence[Segment], spans: Sequence[ControlSpan]) -> int:
    """How many of the spans callers wrote, or a part of them."""
    ends = list(accumulate(len(segment.text) for segment in segments))
    around = (segments[bisect_right(ends, span.start) : bisect_left(ends, span.end) + 1] for span in spans)
    return sum(any(segment.text and not segment.trusted for segment in touched) for touched in around)


def _bare(serialized: str) -> FastTokenizer:
    """A copy that neither pads nor cuts: some models bake both into their tokenizer file."""
    tokenizer = FastTokenizer.from_str(serialized)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


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
