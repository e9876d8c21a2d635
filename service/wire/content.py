"""Interleaved content and the deltas of streams."""

from typing import assert_never

from inferwire.v1 import content_pb2 as pb
from service.api.content import (
    ContentDelta,
    ImageBytes,
    ImageContentItem,
    ImageDelta,
    ImageUrl,
    InterleavedContent,
    InterleavedContentItem,
    ReasoningDelta,
    TextContentItem,
    TextDelta,
    ToolCallDelta,
    ToolCallParseStatus,
)
from service.api.tools import ToolCall
from service.errors import InvalidField
from service.wire.fields import EnumPair, at, build, chosen, each, maybe
from service.wire.tools import tool_call_from_proto, tool_call_to_proto

PARSE_STATUS = EnumPair(ToolCallParseStatus, pb.ToolCallParseStatus, "TOOL_CALL_PARSE_STATUS_")


def content_from_proto(message: pb.InterleavedContent) -> InterleavedContent:
    if chosen(message, "content") == "text":
        return message.text
    if not message.items.items:
        raise InvalidField("items.items", "At least one item is required.")
    return each(message.items.items, "items.items", item_from_proto)


def content_to_proto(content: InterleavedContent) -> pb.InterleavedContent:
    if isinstance(content, str):
        return pb.InterleavedContent(text=content)
    return pb.InterleavedContent(items=pb.InterleavedContentList(items=map(item_to_proto, content)))


def item_from_proto(message: pb.InterleavedContentItem) -> InterleavedContentItem:
    if chosen(message, "item") == "text":
        return TextContentItem(text=message.text)
    with at("image"):
        return image_from_proto(message.image)


def item_to_proto(item: InterleavedContentItem) -> pb.InterleavedContentItem:
    match item:
        case TextContentItem():
            return pb.InterleavedContentItem(text=item.text)
        case ImageContentItem():
            return pb.InterleavedContentItem(image=image_to_proto(item))
        case _:
            assert_never(item)


def image_from_proto(message: pb.ImageContentItem) -> ImageContentItem:
    if chosen(message, "source") == "url":
        return ImageContentItem(source=build(ImageUrl, url=message.url))
    with at("data"):
        data = build(ImageBytes, data=message.data.data, mime_type=message.data.mime_type)
    return ImageContentItem(source=data)


def image_to_proto(image: ImageContentItem) -> pb.ImageContentItem:
    match image.source:
        case ImageUrl(url=url):
            return pb.ImageContentItem(url=url)
        case ImageBytes(data=data, mime_type=mime_type):
            return pb.ImageContentItem(data=pb.ImageBytes(data=data, mime_type=mime_type))
        case _:
            assert_never(image.source)


def delta_from_proto(message: pb.ContentDelta) -> ContentDelta:
    match chosen(message, "delta"):
        case "text":
            return TextDelta(message.text.text)
        case "image":
            return ImageDelta(message.image.image)
        case "reasoning":
            return ReasoningDelta(message.reasoning.text)
        case _:
            with at("tool_call"):
                return tool_call_delta_from_proto(message.tool_call)


def delta_to_proto(delta: ContentDelta) -> pb.ContentDelta:
    match delta:
        case TextDelta():
            return pb.ContentDelta(text=pb.TextDelta(text=delta.text))
        case ImageDelta():
            return pb.ContentDelta(image=pb.ImageDelta(image=delta.image))
        case ReasoningDelta():
            return pb.ContentDelta(reasoning=pb.ReasoningDelta(text=delta.text))
        case ToolCallDelta():
            return pb.ContentDelta(tool_call=tool_call_delta_to_proto(delta))
        case _:
            assert_never(delta)


def tool_call_delta_from_proto(message: pb.ToolCallDelta) -> ToolCallDelta:
    return ToolCallDelta(
        tool_call=message.fragment if message.HasField("fragment") else maybe(message, "call", tool_call_from_proto),
        parse_status=PARSE_STATUS.required_from_proto(message.parse_status, "parse_status"),
        call_index=message.call_index,
        call_id=message.call_id,
    )


def tool_call_delta_to_proto(delta: ToolCallDelta) -> pb.ToolCallDelta:
    message = pb.ToolCallDelta(
        parse_status=PARSE_STATUS.to_proto(delta.parse_status),
        call_index=delta.call_index,
        call_id=delta.call_id,
    )
    match delta.tool_call:
        case str() as fragment:
            message.fragment = fragment
        case ToolCall() as call:
            message.call.CopyFrom(tool_call_to_proto(call))
        case None:
            pass
        case _:
            assert_never(delta.tool_call)
    return message
