"""The messages of a conversation, and why an answer stopped."""

from enum import StrEnum
from typing import Any, TypeAlias

from service.api.base import ApiModel
from service.api.content import InterleavedContent
from service.api.tools import ToolCall, ToolName


class StopReason(StrEnum):
    END_OF_TURN = "end_of_turn"
    END_OF_MESSAGE = "end_of_message"
    OUT_OF_TOKENS = "out_of_tokens"


class UserMessage(ApiModel):
    content: InterleavedContent
    context: InterleavedContent | None = None


class SystemMessage(ApiModel):
    content: InterleavedContent


class ToolResponseMessage(ApiModel):
    call_id: str
    tool_name: ToolName | None = None
    content: InterleavedContent


class CompletionMessage(ApiModel):
    """What the model said: an answer, or history."""

    content: InterleavedContent
    stop_reason: StopReason | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    reasoning: str = ""


class ToolResponse(ApiModel):
    """What a tool runtime returns: text for the model, and metadata that the model never sees."""

    call_id: str
    tool_name: ToolName
    content: InterleavedContent
    metadata: dict[str, Any] | None = None
    """None differs from empty."""

    def to_message(self) -> ToolResponseMessage:
        """What the model sees."""
        return ToolResponseMessage(call_id=self.call_id, tool_name=self.tool_name, content=self.content)


Message: TypeAlias = UserMessage | SystemMessage | ToolResponseMessage | CompletionMessage | ToolResponse
