"""Which log probabilities belong to which piece of text."""

from collections import deque
from collections.abc import Callable, Sequence

from service.api.sampling import TokenLogProbs


class LogprobAligner:
    """Hands out the log probabilities of tokens together with the text that they are a part of.

    Engines hold text back (half a character, what may become a stop string) and drop some (stop strings), so tokens and
    text don't arrive in step. Tokens are matched with text by counting bytes.
    """

    def __init__(self, visible_bytes: Callable[[int], bytes]) -> None:
        self._visible_bytes = visible_bytes
        self._waiting: deque[tuple[int, TokenLogProbs]] = deque()
        self._generated = 0
        self._delivered = 0

    def generated(self, positions: Sequence[TokenLogProbs]) -> None:
        for position in positions:
            if size := len(self._visible_bytes(position.token.token_id)):
                self._waiting.append((self._generated, position))
                self._generated += size

    def delivered(self, text: str) -> list[TokenLogProbs]:
        """The positions that have a part in `text` and in no earlier one."""
        if self._delivered == 0 and self._waiting and self._drops_leading_space(text):
            self._delivered = 1
        self._delivered += len(text.encode())
        ready = []
        while self._waiting and self._waiting[0][0] < self._delivered:
            ready.append(self._waiting.popleft()[1])
        return ready

    def _drops_leading_space(self, text: str) -> bool:
        """Some tokenizers mark the start of a word by a space that is not shown at the start of a text."""
        first = self._waiting[0][1].token.token_bytes
        return first.startswith(b" ") and not text.startswith(" ")
