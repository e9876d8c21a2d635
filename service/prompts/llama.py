"""The frame of Llama 3 conversations, for dialects that the model's chat template doesn't have.

Which Llama 3 it is decides which dialect it was trained on, and can only be told from its name.
"""

from collections.abc import Callable, Collection, Iterator, Sequence

import regex

from service.api.messages import StopReason
from service.api.tools import ToolCall, ToolPromptFormat
from service.prompts.conversation import Turn
from service.prompts.tokenizer import Segment
from service.tool_formats.reading import PYTHON_TAG

BEGIN_OF_TEXT, START_HEADER, END_HEADER = "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>"
END_OF_TURN, END_OF_MESSAGE = "<|eot_id|>", "<|eom_id|>"
TOKENS = frozenset({BEGIN_OF_TEXT, START_HEADER, END_HEADER, END_OF_TURN, END_OF_MESSAGE, PYTHON_TAG})
PYTHON_LIST_MODELS = regex.compile(r"llama-?3\.(3|2(?!.*vision))", regex.IGNORECASE)
ROLES = {"tool": "ipython"}


def is_llama_3(control_tokens: Collection[str]) -> bool:
    return TOKENS.issubset(control_tokens)


def trained_format(model_name: str) -> ToolPromptFormat:
    """Llama 3.2 text models and 3.3 know the list, all others, Llama or not, are told in JSON."""
    return ToolPromptFormat.PYTHON_LIST if PYTHON_LIST_MODELS.search(model_name) else ToolPromptFormat.JSON


def segments(
    turns: Sequence[Turn], write: Callable[[Sequence[ToolCall]], str], shown: Callable[[str], Sequence[Segment]]
) -> list[Segment]:
    """The whole prompt, up to where the model's answer begins. `write` writes calls, `shown` the content of a turn."""
    framed = [segment for turn in turns for segment in _turn(turn, write, shown)]
    return [Segment(BEGIN_OF_TEXT, trusted=True), *framed, _header("assistant")]


def _turn(
    turn: Turn, write: Callable[[Sequence[ToolCall]], str], shown: Callable[[str], Sequence[Segment]]
) -> Iterator[Segment]:
    yield _header(ROLES.get(turn.role, turn.role))
    if turn.calls:
        yield Segment(PYTHON_TAG, trusted=True)
    yield from shown(turn.content + (write(turn.calls) if turn.calls else ""))
    yield Segment(END_OF_MESSAGE if _awaits_answers(turn) else END_OF_TURN, trusted=True)


def _awaits_answers(turn: Turn) -> bool:
    if turn.stop_reason is None:
        return bool(turn.calls)
    return turn.stop_reason is StopReason.END_OF_MESSAGE


def _header(role: str) -> Segment:
    return Segment(f"{START_HEADER}{role}{END_HEADER}\n\n", trusted=True)
