"""How a conversation tells the model about tools, in the words that Llama 3.1 and 3.2 models were trained on."""

from collections.abc import Sequence

import regex

from service.api.tools import NamedToolChoice, SystemMessageBehavior, ToolChoice, ToolPromptFormat
from service.prompts.conversation import Turn
from service.tool_formats import builtin, python_list
from service.tool_formats.use import ToolUse

PLACEHOLDER = regex.compile(r"\{\{\s*function_(?:definitions|description)\s*\}\}")
MUST_CALL = "You MUST use one of the provided functions/tools to answer the user query."
MUST_CALL_ONE = "You MUST use the tool `{}` to answer the user query."


def with_tools(turns: Sequence[Turn], use: ToolUse, date_lines: str = "") -> list[Turn]:
    """The conversation, with the tools described at its head. Unchanged without tools."""
    if not use.tools:
        return list(turns)
    own, rest = (turns[0].content, turns[1:]) if turns[0].role == "system" else (None, turns)
    if use.format is ToolPromptFormat.PYTHON_LIST:
        head = [Turn("system", _llama_3_2(use, own))]
    else:
        head = _llama_3_1(use, own, date_lines)
    return [turn for turn in head if turn.content] + list(rest)


def _llama_3_1(use: ToolUse, own: str | None, date_lines: str) -> list[Turn]:
    """A system message, and the description of the tools as the user's first one."""
    description = use.prompted.describe(use.custom) if use.custom else ""
    replaced = use.behavior is SystemMessageBehavior.REPLACE and own is not None and PLACEHOLDER.search(own)
    if replaced:
        own, description = _filled(own or "", description), ""
    header = builtin.header(use.tools)
    parts = [header, *(part for part in (date_lines, own, _choice_sentence(use)) if part)]
    system = "\n".join(parts) if len(parts) > 1 else header.rstrip("\n")
    return [Turn("system", system), Turn("user", description)]


def _llama_3_2(use: ToolUse, own: str | None) -> str:
    """All in the system message; the caller's text behind the description of the tools, or in place of the preamble."""
    text = builtin.header(use.builtin) + "\n" if use.builtin else ""
    replaces = use.behavior is SystemMessageBehavior.REPLACE and own is not None and bool(use.custom)
    if use.custom:
        description = python_list.describe(use.custom)
        text += (_filled(own or "", description) if replaces else python_list.PREAMBLE + description) + "\n"
    if own is not None and not replaces:
        text += own
    if sentence := _choice_sentence(use):
        text += "\n" + sentence
    return text.strip("\n")


def _filled(text: str, description: str) -> str:
    """Plain substitution: nothing else in the caller's text means anything."""
    return str(PLACEHOLDER.sub(lambda _: description, text))


def _choice_sentence(use: ToolUse) -> str:
    match use.choice:
        case NamedToolChoice(tool_name=name):
            return MUST_CALL_ONE.format(name)
        case ToolChoice.REQUIRED:
            return MUST_CALL
        case _:
            return ""
