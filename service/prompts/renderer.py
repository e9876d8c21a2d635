"""Rendering: a conversation to the prompt of one model, what callers wrote kept apart from the model's own words."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property, partial
from typing import Any, TypeAlias

from jinja2 import Environment, TemplateError, meta

from service.api.tools import ToolPromptFormat
from service.errors import InvalidField, UnsupportedByModel
from service.prompts import llama
from service.prompts.conversation import Turn
from service.prompts.image_places import PLACE, ContentForms, segments
from service.prompts.marks import Marks
from service.prompts.reasoning import HISTORY, MarkNames, Reasoning, reasoning_of
from service.prompts.tokenizer import Prompt, Segment, Tokenizer
from service.prompts.tool_prompts import with_tools
from service.tool_formats.dialects import write_calls
from service.tool_formats.native import NativeDialect, described
from service.tool_formats.reading import PYTHON_TAG
from service.tool_formats.use import NO_TOOLS, ModelDialects, ToolUse

Say: TypeAlias = Callable[[str], str]
Switches: TypeAlias = Mapping[str, bool]
NO_SWITCHES: Switches = {}


@dataclass(frozen=True, slots=True)
class PromptStyle:
    """What an operator decides about the prompts of a model."""

    model_name: str = ""
    """As its makers call it, which tells the family."""
    tool_prompt_format: ToolPromptFormat | None = None
    """The dialect of requests that don't name one; None for the best that the model knows."""
    date: str | None = None
    """What prompts in the manner of Llama 3.1 call today: a date, or "today" for the clock's (UTC); None for none."""
    knowledge_cutoff: str = "December 2023"
    """What the same prompts tell besides."""
    reasons: bool = True
    """Whether the thoughts of a model that has any are told apart from its answers."""
    reasoning_marks: MarkNames | None = None
    """The marks around them; None for those that the chat template writes."""

    def date_lines(self) -> str:
        if self.date is None:
            return ""
        date = datetime.now(UTC).strftime("%d %B %Y") if self.date == "today" else self.date
        return f"Cutting Knowledge Date: {self.knowledge_cutoff}\nToday Date: {date}"


class Renderer:
    """Makes the prompts of one model."""

    def __init__(
        self, tokenizer: Tokenizer, style: PromptStyle | None = None, image_placeholder: str | None = None
    ) -> None:
        """`image_placeholder` is what stands for an image in the model's prompts, where no chat template says it."""
        self.tokenizer = tokenizer
        self._style = style or PromptStyle()
        self._image_placeholder = image_placeholder
        self._forms = ContentForms(lambda messages: self._apply(messages, []), image_placeholder)

    def with_chat_template(self, template: str) -> "Renderer":
        """The same, but for the template of conversations."""
        return Renderer(self.tokenizer.with_chat_template(template), self._style, self._image_placeholder)

    def try_chat_template(self) -> None:
        """Raises InvalidField where the template is broken."""
        self.chat([Turn("user", "question")])

    @property
    def can_chat(self) -> bool:
        return bool(self.tokenizer.pretrained.chat_template)

    @cached_property
    def dialects(self) -> ModelDialects:
        """The dialects that tools can be used in where a request names none."""
        if self._style.tool_prompt_format is not None:
            return ModelDialects(None, self._style.tool_prompt_format)
        return ModelDialects(self._native_dialect(), llama.trained_format(self._style.model_name))

    @cached_property
    def reasoning(self) -> Reasoning | None:
        """How the model thinks before it answers; None for one that doesn't. Raises ValueError for unusable marks."""
        return reasoning_of(self.tokenizer, self._style.reasoning_marks) if self._style.reasons else None

    def chat(self, turns: Sequence[Turn], use: ToolUse = NO_TOOLS, switches: Switches = NO_SWITCHES) -> Prompt:
        """The prompt of a conversation, up to where the model's answer begins.

        `switches` are variables of the chat template.
        """
        if not self.can_chat:
            raise UnsupportedByModel("model_id", "The model has no chat template. Use Completion.")
        self._check_places("messages", [turn.content for turn in turns])
        if not (self.reasoning and self.reasoning.keeps_history):
            turns = [replace(turn, reasoning="") if turn.reasoning else turn for turn in turns]
        if use.native:
            return self._through_template(turns, use, switches)
        turns = with_tools(turns, use, self._style.date_lines())
        if self._is_llama_3 and (use.tools or any(turn.calls for turn in turns)):
            shown = partial(segments, placeholder=self._image_placeholder)
            return self.tokenizer.encode(llama.segments(turns, lambda calls: write_calls(use.prompted, calls), shown))
        return self._through_template(self._adapted(turns, use), use, switches)

    def tags_calls(self, use: ToolUse) -> bool:
        """Whether a control token of the model's tells built-in tools' calls from text."""
        return bool(use.builtin) and PYTHON_TAG in self.tokenizer.control_tokens

    @cached_property
    def awaiting_token(self) -> int | None:
        """The token by which the model stops to wait for a tool's answer, if it has one."""
        token: int | None = self.tokenizer.control_tokens.get(llama.END_OF_MESSAGE)
        return token

    def text(self, text: str) -> Prompt:
        """The prompt of a completion: the text, between the special tokens that the model wants around any text."""
        self._check_places("content", [text])
        prompt = self.tokenizer.encode(segments(text, self._image_placeholder, "content"))
        return Prompt(prompt.text, self.tokenizer.prefix_ids + prompt.token_ids, prompt.neutralized_spans)

    def _check_places(self, field: str, texts: Sequence[str]) -> None:
        """Raises InvalidField for texts that nothing could tell from an image: its place is no control token."""
        placeholder = self._image_placeholder
        if placeholder is None or not any(PLACE in text for text in texts):
            return
        spells = any(placeholder in text for text in texts)
        if spells and not any(token in placeholder for token in self.tokenizer.control_tokens):
            raise InvalidField(field, f"A text spells what stands for an image in the model's prompts: {placeholder}.")

    @cached_property
    def _is_llama_3(self) -> bool:
        return llama.is_llama_3(self.tokenizer.control_tokens)

    def _native_dialect(self) -> NativeDialect | None:
        if not self.can_chat:
            return None
        template = self.tokenizer.pretrained.get_chat_template(tools=[{}])
        knows_tools = "tools" in meta.find_undeclared_variables(Environment().parse(template))
        return NativeDialect.of_template(template) if knows_tools else None

    def _adapted(self, turns: Sequence[Turn], use: ToolUse) -> list[Turn]:
        """The same for a template that may not know tools: calls as text, roles that it doesn't have as others."""
        adapted: list[Turn] = []
        for turn in turns:
            content = turn.content + (write_calls(use.prompted, turn.calls) if turn.calls else "")
            role = self._roles.get(turn.role, turn.role)
            if adapted and adapted[-1].role == role and self._alternates:
                adapted[-1] = Turn(role, f"{adapted[-1].content}\n\n{content}", reasoning=adapted[-1].reasoning)
            else:
                adapted.append(Turn(role, content, reasoning=turn.reasoning))
        return adapted

    @cached_property
    def _roles(self) -> dict[str, str]:
        """Roles that the template refuses, or silently leaves out, and what stands for them."""
        question, answer = Turn("user", "question"), Turn("assistant", "answer")
        shown = {
            "tool": self._tried([question, answer, Turn("tool", "result")], "result"),
            "system": self._tried([Turn("system", "instruction"), question], "instruction"),
        }
        return {role: "user" for role, is_shown in shown.items() if not is_shown}

    @cached_property
    def _alternates(self) -> bool:
        """Whether the template wants user and assistant to take turns."""
        return not self._tried([Turn("user", "question"), Turn("user", "another")], "")

    def _tried(self, turns: Sequence[Turn], expected: str) -> bool:
        """Whether the template takes a conversation and shows the expected."""
        try:
            return expected in self._apply([self._message(turn, str, str) for turn in turns], [])
        except InvalidField:
            return False

    def _through_template(self, turns: Sequence[Turn], use: ToolUse, switches: Switches) -> Prompt:
        return self.tokenizer.encode(self._segments(turns, use, switches))

    def _segments(self, turns: Sequence[Turn], use: ToolUse, switches: Switches) -> list[Segment]:
        """The rendered conversation, cut where callers' texts begin and end.

        The template runs once on the texts themselves, and once on marks in their place, to learn where they go. One
        that changes texts in a way that marks don't know gets them unchanged.
        """
        # First, so that a template that refuses the conversation speaks of what the caller wrote.
        rendered = self._apply(*self._template_input(turns, use, str, str), switches)
        marks = Marks(self.tokenizer.may_become_control)
        frame = self._apply(*self._template_input(turns, use, marks.content, marks.in_json), switches)
        if (fitted := marks.fitted(frame, rendered)) is not None:
            return fitted
        if marks.damaged_in(frame):
            raise UnsupportedByModel("messages", "The model's chat template doesn't keep messages apart.")
        return marks.filled(frame)

    def _template_input(
        self, turns: Sequence[Turn], use: ToolUse, content: Say, in_json: Say
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Messages and tools, with every text of the caller's said by `content`, or by `in_json` inside of JSON."""
        messages = [self._message(turn, content, in_json) for turn in turns]
        return messages, [_said(described(tool), in_json) for tool in use.tools] if use.native else []

    def _message(self, turn: Turn, content: Say, in_json: Say) -> dict[str, Any]:
        message: dict[str, Any] = {"role": turn.role, "content": self._forms.of(turn.role, turn.content, content)}
        if turn.reasoning:
            message[HISTORY] = content(turn.reasoning)
        return message | _parts_of_calls(turn, in_json)

    def _apply(
        self,
        conversation: Sequence[Mapping[str, Any]],
        tools: Sequence[dict[str, Any]],
        switches: Switches = NO_SWITCHES,
    ) -> str:
        apply: Callable[..., str] = self.tokenizer.pretrained.apply_chat_template
        try:
            return apply(conversation, tools=tools or None, tokenize=False, add_generation_prompt=True, **switches)
        except TemplateError as error:
            raise InvalidField("messages", f"The model's chat template refuses it: {error}.") from error


def _parts_of_calls(turn: Turn, in_json: Say) -> dict[str, Any]:
    """What a message has besides its content."""
    parts: dict[str, Any] = {}
    if turn.calls:
        parts["tool_calls"] = [
            {
                "type": "function",
                "id": in_json(call.call_id),
                "function": {
                    "name": in_json(str(call.tool_name)),
                    "arguments": _said(json.loads(call.arguments_json or "{}"), in_json),
                },
            }
            for call in turn.calls
        ]
    if turn.call_id:
        parts |= {"tool_call_id": in_json(turn.call_id), "name": in_json(turn.tool_name)}
    return parts


def _said(value: Any, say: Say) -> Any:
    """A JSON value with all of its strings said."""
    match value:
        case str():
            return say(value)
        case list():
            return [_said(item, say) for item in value]
        case dict():
            return {say(key): _said(item, say) for key, item in value.items()}
        case _:
            return value
