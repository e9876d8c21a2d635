"""A query and a document as one sequence of tokens, the way a cross-encoder was trained on them."""

from collections.abc import Sequence
from dataclasses import dataclass

from service.prompts.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Pair:
    """`second_type_from` is where tokens of type 1 begin, for models that tell the texts apart by it."""

    token_ids: list[int]
    second_type_from: int | None
    original_tokens: int


class PairTokenizer:
    """Joins pairs with the special tokens of the model's tokenizer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Raises ValueError for a model that doesn't tell how."""
        sample = tokenizer.pair_sample()
        whose = sample.sequence_ids
        if whose.count(0) == 0 or whose.count(1) == 0 or None not in whose[whose.index(0) : whose.index(1)]:
            raise ValueError(
                "Its tokenizer puts nothing between a query and a document, as those of cross-encoders do."
            )
        first_end, second_end = len(whose) - whose[::-1].index(0), len(whose) - whose[::-1].index(1)
        self._before = sample.ids[: whose.index(0)]
        self._between = sample.ids[first_end : whose.index(1)]
        self._behind = sample.ids[second_end:]
        self._types = _types(tokenizer, sample.type_ids, first_end, whose.index(1))

    @property
    def special_tokens(self) -> int:
        return len(self._before) + len(self._between) + len(self._behind)

    def joined(self, query: Sequence[int], document: Sequence[int], limit: int, *, from_start: bool = False) -> Pair:
        """Cuts what is beyond the limit from the end of the texts, or from their start."""
        rooms = longest_first(len(query), len(document), limit - self.special_tokens)
        first, second = (_cut(ids, room, from_start) for ids, room in zip((query, document), rooms, strict=True))
        head = self._before + first
        return Pair(
            token_ids=head + self._between + second + self._behind,
            second_type_from=None if self._types is None else len(head) + self._types,
            original_tokens=len(query) + len(document) + self.special_tokens,
        )


def longest_first(first: int, second: int, room: int) -> tuple[int, int]:
    """How many tokens of two texts are kept when one after the other is taken from the longer one."""
    if first + second <= room:
        return first, second
    short = min(first, second, room // 2)
    return (short, room - short) if first <= second else (room - short, short)


def _cut(ids: Sequence[int], room: int, from_start: bool) -> list[int]:
    return list(ids[len(ids) - room :] if from_start else ids[:room])


def _types(tokenizer: Tokenizer, type_ids: Sequence[int], first_end: int, second_start: int) -> int | None:
    """Where tokens of type 1 begin, counted from the end of the first text. Raises ValueError."""
    if "token_type_ids" not in tokenizer.pretrained.model_input_names or 1 not in type_ids:
        return None
    begin = type_ids.index(1)
    if sorted(type_ids) != list(type_ids) or max(type_ids) > 1 or not first_end <= begin <= second_start:
        raise ValueError("Its tokenizer gives the tokens of a pair types that this server doesn't know.")
    return begin - first_end
