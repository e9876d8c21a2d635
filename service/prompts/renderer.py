"""Rendering: a conversation through the model's chat template, with what callers wrote kept apart from its own text."""

import re
import secrets
from collections.abc import Callable, Sequence

from jinja2 import TemplateError

from service.errors import InvalidField, UnsupportedByModel
from service.prompts.conversation import Turn
from service.prompts.tokenizer import Prompt, Segment, Tokenizer


class Renderer:
    """Makes the prompts of one model."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        # Stands for a turn's content while the template runs. Random, so that nobody can write one; of digits, which
        # have no upper case.
        self._nonce = f"{secrets.randbelow(10**16):016}"
        self._placeholder = re.compile(f"\ue000{self._nonce}:(\\d+)\ue001")

    @property
    def can_chat(self) -> bool:
        return bool(self.tokenizer.pretrained.chat_template)

    def chat(self, turns: Sequence[Turn]) -> Prompt:
        """The prompt of a conversation, up to where the model's answer begins."""
        if not self.can_chat:
            raise UnsupportedByModel("model_id", "The model has no chat template. Use Completion.")
        return self.tokenizer.encode(self._segments(turns))

    def text(self, text: str) -> Prompt:
        """The prompt of a completion: the text, between the special tokens that the model wants around any text."""
        prompt = self.tokenizer.encode_untrusted(text)
        return Prompt(prompt.text, self.tokenizer.prefix_ids + prompt.token_ids, prompt.neutralized_spans)

    def _segments(self, turns: Sequence[Turn]) -> list[Segment]:
        """The rendered conversation, cut where contents begin and end.

        The template runs once on placeholders, to learn where contents go, and once on the contents themselves. Where
        both agree, the cuts are certain. Templates may strip contents, hence the second attempt; one that changes
        contents in another way gets them unchanged.
        """
        contents = [turn.content for turn in turns]
        # First, so that a template that refuses the conversation speaks of what the caller wrote.
        rendered = self._apply(turns)
        frame = self._apply([Turn(t.role, self._mark(i) if t.content else "") for i, t in enumerate(turns)])
        for attempt in (contents, [content.strip() for content in contents]):
            segments = self._fill(frame, attempt)
            if "".join(segment.text for segment in segments) == rendered:
                return segments
        if self._nonce in self._placeholder.sub("", frame):
            raise UnsupportedByModel("messages", "The model's chat template doesn't keep messages apart.")
        return self._fill(frame, contents)

    def _mark(self, index: int) -> str:
        return f"\ue000{self._nonce}:{index}\ue001"

    def _fill(self, frame: str, contents: Sequence[str]) -> list[Segment]:
        pieces = self._placeholder.split(frame)
        # split() alternates between text and the captured index.
        segments = [
            Segment(contents[int(piece)], trusted=False) if odd % 2 else Segment(piece, trusted=True)
            for odd, piece in enumerate(pieces)
        ]
        return [segment for segment in segments if segment.text]

    def _apply(self, turns: Sequence[Turn]) -> str:
        apply: Callable[..., str] = self.tokenizer.pretrained.apply_chat_template
        conversation = [{"role": turn.role, "content": turn.content} for turn in turns]
        try:
            return apply(conversation, tokenize=False, add_generation_prompt=True)
        except TemplateError as error:
            raise InvalidField("messages", f"The model's chat template refuses it: {error}.") from error
