"""The marks around a model's thoughts, by the names of vLLM's reasoning parsers."""

from typing import Any

from vllm.reasoning import ReasoningParserManager

from service.prompts.reasoning import MarkNames
from service.prompts.tokenizer import Tokenizer

# Where parsers keep them: those made by adapters, and those written by hand.
START_NAMES, END_NAMES = ("reasoning_start_str", "start_token"), ("reasoning_end_str", "end_token")


def marks_of(parser_name: str, tokenizer: Tokenizer) -> MarkNames:
    """Raises ValueError for a parser that there is not, that doesn't fit the model, or that reads text for marks."""
    known = ReasoningParserManager.list_registered()
    if parser_name not in known:
        raise ValueError(f"vLLM has no reasoning parser {parser_name!r}; it has: {', '.join(known)}.")
    try:
        parser = ReasoningParserManager.get_reasoning_parser(parser_name)(tokenizer.pretrained)
    # Each misses the tokens that it looks for in a way of its own.
    except Exception as error:
        raise ValueError(f"The reasoning parser {parser_name!r} doesn't fit the model: {error}") from error
    marks = _found(parser, START_NAMES), _found(parser, END_NAMES)
    if not all(mark in tokenizer.control_tokens for mark in marks):
        raise ValueError(f"The reasoning parser {parser_name!r} reads text for marks, not single tokens of the model.")
    return marks


def _found(parser: Any, names: tuple[str, ...]) -> str:
    return next((mark for name in names if isinstance(mark := getattr(parser, name, None), str)), "")
