"""How a model writes its thoughts before its answer: the marks around them, and the switch of its chat template.

A mark is a control token, so that no text can be taken for one, neither a caller's nor the model's own.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

from jinja2 import Environment, TemplateError, meta

from service.prompts.tokenizer import Prompt, Segment, Tokenizer

MarkNames: TypeAlias = tuple[str, str]
KNOWN: Sequence[MarkNames] = (
    ("<think>", "</think>"),
    ("[THINK]", "[/THINK]"),
    ("<seed:think>", "</seed:think>"),
    ("<mm:think>", "</mm:think>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|plamo:begin_think:plamo|>", "<|plamo:end_think:plamo|>"),
)
SWITCHES = ("enable_thinking", "thinking")
"""The variables of chat templates by which thinking is turned on or off."""
HISTORY = "reasoning_content"
"""The key under which chat templates look for the thoughts of an earlier answer."""
# What stands for a text while a template is asked how it writes.
QUESTION, THOUGHTS, ANSWER = "the-question", "the-thoughts", "the-answer"
# Where the template doesn't write thoughts, as the models of this family do.
BLANKS_AROUND_END = {"</think>": ("\n", "\n\n")}


class Thinking(StrEnum):
    """Where a prompt leaves the model."""

    BEGUN = "begun"
    """In its thoughts."""
    ENDED = "ended"
    """Behind them: it can only answer."""
    OPEN = "open"
    """In front of its message. It begins to think by itself, or answers."""


@dataclass(frozen=True, slots=True)
class Reasoning:
    """How one model thinks."""

    start: str
    end: str
    start_id: int
    end_id: int
    switch: str | None
    """The variable of the template that turns thinking on or off."""
    keeps_history: bool
    """Whether the template takes the thoughts of earlier answers."""
    to_answer: Prompt
    """What leads from thoughts that the model has ended to the answer, from the end mark on."""
    to_answer_at_once: Prompt
    """The same from thoughts that are broken off."""
    token_bytes: Callable[[int], bytes]

    def after(self, token_ids: Sequence[int]) -> Thinking:
        """Where a prompt leaves the model."""
        last = next((token_id for token_id in reversed(token_ids) if not self._is_blank(token_id)), None)
        if last == self.start_id:
            return Thinking.BEGUN
        return Thinking.ENDED if last == self.end_id else Thinking.OPEN

    def begins(self, token_ids: Sequence[int]) -> bool | None:
        """Whether a message that begins so begins with thoughts; None as long as that can't be told."""
        first = next((token_id for token_id in token_ids if not self._is_blank(token_id)), None)
        return None if first is None else first == self.start_id

    def first_thoughts(self, token_ids: Sequence[int], text: str) -> str:
        """What is shown of the thoughts in the beginning of a message: what is behind the blanks and the start mark."""
        if self.start_id not in token_ids:
            return ""
        before, mark, behind = text.partition(self.start)
        if mark:
            return behind
        # Some tokenizers leave marks out of texts.
        return before.removeprefix(self.shown(token_ids[: token_ids.index(self.start_id)]))

    def shown(self, token_ids: Sequence[int]) -> str:
        """The text of tokens, marks included."""
        return b"".join(map(self.token_bytes, token_ids)).decode(errors="replace")

    def switched(self, enabled: bool | None) -> dict[str, bool]:
        """What the template is told."""
        return {} if enabled is None or self.switch is None else {self.switch: enabled}

    def _is_blank(self, token_id: int) -> bool:
        return self.token_bytes(token_id).isspace()


def reasoning_of(tokenizer: Tokenizer, marks: MarkNames | None = None) -> Reasoning | None:
    """How the model thinks by its chat template, or by these marks; None for one that doesn't.

    Raises ValueError for marks that are no tokens of the model.
    """
    template = _template(tokenizer)
    found = marks or next((known for known in KNOWN if _writes(template, tokenizer, known)), None)
    if found is None or not template:
        return None
    for mark in found:
        if mark not in tokenizer.control_tokens:
            raise ValueError(f"The mark {mark} is no token of the model's own.")
    return _reasoning(tokenizer, template, *found)


def _template(tokenizer: Tokenizer) -> str:
    return str(tokenizer.pretrained.get_chat_template()) if tokenizer.pretrained.chat_template else ""


def _writes(template: str, tokenizer: Tokenizer, marks: MarkNames) -> bool:
    """Models that don't think may have the tokens, too, from a family that does."""
    return marks[1] in template and all(mark in tokenizer.control_tokens for mark in marks)


def _reasoning(tokenizer: Tokenizer, template: str, start: str, end: str) -> Reasoning:
    before, behind = _blanks_around_end(tokenizer, end)
    variables = meta.find_undeclared_variables(Environment().parse(template))
    return Reasoning(
        start=start,
        end=end,
        start_id=tokenizer.control_tokens[start],
        end_id=tokenizer.control_tokens[end],
        switch=next((name for name in SWITCHES if name in variables), None),
        keeps_history=HISTORY in template,
        to_answer=tokenizer.encode([Segment(end + behind, trusted=True)]),
        to_answer_at_once=tokenizer.encode([Segment(before + end + behind, trusted=True)]),
        token_bytes=tokenizer.token_bytes,
    )


def _blanks_around_end(tokenizer: Tokenizer, end: str) -> tuple[str, str]:
    """What the template writes between thoughts and the end mark, and between that and the answer."""
    usual = BLANKS_AROUND_END.get(end, ("", ""))
    thoughtful: Mapping[str, Any] = {"role": "assistant", "content": ANSWER, HISTORY: THOUGHTS}
    try:
        shown = tokenizer.pretrained.apply_chat_template(
            [{"role": "user", "content": QUESTION}, thoughtful], tokenize=False
        )
    except (TemplateError, TypeError, ValueError):
        return usual
    before, ended, behind = str(shown).partition(THOUGHTS)[2].partition(end)
    behind, answered, _ = behind.partition(ANSWER)
    return (before, behind) if ended and answered and not (before + behind).strip() else usual
