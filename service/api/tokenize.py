"""Tokens: what a model reads for a text or a conversation, and back."""

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import Field

from service.api.base import ApiModel
from service.api.chat import Messages, ReasoningConfig, Tools
from service.api.response_format import ResponseFormat
from service.api.tools import ToolConfig
from service.api.usage import Timings, Usage


class TokenizeText(ApiModel):
    """`add_special_tokens` None means true."""

    text: str
    add_special_tokens: bool | None = None
    return_spans: bool = False


class TokenizeConversation(ApiModel):
    """What the prompt of a chat is made of."""

    messages: Messages
    tools: Tools = ()
    tool_config: ToolConfig | None = None
    response_format: ResponseFormat | None = None
    reasoning: ReasoningConfig | None = None


class TokenizeRequest(ApiModel):
    model_id: str = Field(min_length=1)
    input: TokenizeText | TokenizeConversation
    return_pieces: bool = False


@dataclass(frozen=True, slots=True)
class TokenSpan:
    """Where a token stands in a text, in bytes of its UTF-8."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class TokenizeResponse:
    """`pieces` and `spans` are empty where nobody asked for them."""

    token_ids: Sequence[int]
    pieces: Sequence[bytes]
    spans: Sequence[TokenSpan]
    count: int
    context_length: int
    usage: Usage
    timings: Timings
    model_id: str
    request_id: str


class DetokenizeRequest(ApiModel):
    model_id: str = Field(min_length=1)
    token_ids: tuple[int, ...]
    skip_special_tokens: bool = False


@dataclass(frozen=True, slots=True)
class DetokenizeResponse:
    """`data` is what `text` is made of, exactly: `text` has replacement characters for what is no UTF-8."""

    text: str
    data: bytes
    usage: Usage
    timings: Timings
    model_id: str
    request_id: str
