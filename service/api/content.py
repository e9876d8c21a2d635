"""What people, tools and models say: text and images in any order, and the pieces in which answers arrive."""

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from pydantic import Field

from service.api.base import ApiModel
from service.api.tools import ToolCall


class TextContentItem(ApiModel):
    text: str


class ImageUrl(ApiModel):
    url: str = Field(min_length=1)


class ImageBytes(ApiModel):
    data: bytes = Field(min_length=1)
    mime_type: str = Field(min_length=1)


class ImageContentItem(ApiModel):
    source: ImageUrl | ImageBytes


InterleavedContentItem: TypeAlias = TextContentItem | ImageContentItem
InterleavedContent: TypeAlias = str | tuple[InterleavedContentItem, ...]
"""A string is short for a single text item."""


def content_items(content: "InterleavedContent") -> tuple["InterleavedContentItem", ...]:
    return (TextContentItem(text=content),) if isinstance(content, str) else content


class ToolCallParseStatus(StrEnum):
    STARTED = "started"
    IN_PROGRESS = "in_progress"
    FAILED = "failed"
    SUCCEEDED = "succeeded"


@dataclass(frozen=True, slots=True)
class TextDelta:
    text: str


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """What the model thinks before it answers."""

    text: str


@dataclass(frozen=True, slots=True)
class ImageDelta:
    image: bytes


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """`tool_call` is None on STARTED, newly written text on IN_PROGRESS, the whole call on FAILED and SUCCEEDED."""

    tool_call: str | ToolCall | None
    parse_status: ToolCallParseStatus
    call_index: int
    call_id: str


ContentDelta: TypeAlias = TextDelta | ImageDelta | ToolCallDelta | ReasoningDelta
