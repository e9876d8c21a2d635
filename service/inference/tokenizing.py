"""Texts, conversations and tokens, read as a model's tokenizer reads them.

Takes time: call it off the event loop.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from service.api.tokenize import DetokenizeRequest, TokenizeText, TokenSpan
from service.engines.base import LanguageEngine
from service.errors import Findings, InvalidField, RequestError, too_many_tokens
from service.prompts.conversation import Turn
from service.prompts.renderer import Switches
from service.prompts.tokenizer import Tokenizer
from service.tool_formats.use import ToolUse

# More wrong ids than fit into an answer.
MOST_TOLD = 100


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """What a model wants around every text."""

    before: Sequence[int] = ()
    behind: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Tokens:
    """`spans` is empty where nobody asked for them."""

    ids: list[int]
    neutralized_spans: int
    spans: Sequence[TokenSpan] = ()


def tokens_of_text(tokenizer: Tokenizer, text: TokenizeText, special: SpecialTokens, limit: int) -> Tokens:
    """Raises MessageTooLarge."""
    if tokenizer.surely_exceeds(text.text, limit):
        raise too_many_tokens("text.text", None, limit)
    prompt = tokenizer.encode_untrusted(text.text)
    around = SpecialTokens() if text.add_special_tokens is False else special
    ids = [*around.before, *prompt.token_ids, *around.behind]
    if len(ids) > limit:
        raise too_many_tokens("text.text", len(ids), limit)
    spans = list(_spans(tokenizer, text.text, around)) if text.return_spans else ()
    return Tokens(ids, prompt.neutralized_spans, spans)


def tokens_of_conversation(
    engine: LanguageEngine, turns: Sequence[Turn], use: ToolUse, switches: Switches, limit: int
) -> Tokens:
    """Raises RequestErrors."""
    try:
        if engine.renderer.tokenizer.surely_exceeds(text_of_turns(turns), limit):
            raise too_many_tokens("messages", None, limit)
        prompt = engine.renderer.chat(turns, use, switches)
        if len(prompt.token_ids) > limit:
            raise too_many_tokens("messages", len(prompt.token_ids), limit)
    except RequestError as error:
        raise error.under("conversation") from None
    return Tokens(prompt.token_ids, prompt.neutralized_spans)


def text_of_turns(turns: Sequence[Turn]) -> str:
    return "".join(turn.content + turn.reasoning for turn in turns)


def text_of_tokens(tokenizer: Tokenizer, request: DetokenizeRequest) -> tuple[str, bytes]:
    """The text and its bytes. Raises InvalidField for ids that the model doesn't have."""
    _check_ids(tokenizer, request.token_ids)
    bytes_of = tokenizer.visible_bytes if request.skip_special_tokens else tokenizer.token_bytes
    text = tokenizer.decode(request.token_ids, skip_special_tokens=request.skip_special_tokens)
    return text, b"".join(map(bytes_of, request.token_ids))


def _check_ids(tokenizer: Tokenizer, token_ids: Sequence[int]) -> None:
    findings = Findings()
    unknown = {token_id for token_id in set(token_ids) if not tokenizer.has(token_id)}
    for index, token_id in enumerate(token_ids if unknown else ()):
        if len(findings.errors) == MOST_TOLD:
            break
        with findings.noting():
            if token_id in unknown:
                raise InvalidField(f"token_ids[{index}]", f"The model has no token {token_id}.")
    findings.raise_all()


def _spans(tokenizer: Tokenizer, text: str, around: SpecialTokens) -> Iterator[TokenSpan]:
    places = [0, *accumulate(len(character.encode()) for character in text)]
    yield from [TokenSpan(0, 0)] * len(around.before)
    for start, end in tokenizer.spans(text):
        yield TokenSpan(places[start], places[end])
    yield from [TokenSpan(places[-1], places[-1])] * len(around.behind)
