"""The messages of a conversation."""

from typing import Any, assert_never

from inferwire.v1 import messages_pb2 as pb
from service.api.content import InterleavedContent
from service.api.messages import (
    CompletionMessage,
    Message,
    StopReason,
    SystemMessage,
    ToolResponse,
    ToolResponseMessage,
    UserMessage,
)
from service.wire.content import content_from_proto, content_to_proto
from service.wire.fields import (
    EnumPair,
    at,
    build,
    chosen,
    each,
    facts_from_proto,
    maybe,
    require,
    struct_of,
)
from service.wire.tools import tool_call_from_proto, tool_call_to_proto, tool_name_from_proto, tool_name_to_proto

STOP_REASON = EnumPair(StopReason, pb.StopReason, "STOP_REASON_")


def message_from_proto(message: pb.Message) -> Message:
    kind = chosen(message, "message")
    with at(kind):
        match kind:
            case "user":
                return user_message_from_proto(message.user)
            case "system":
                return SystemMessage(content=required_content(message.system))
            case "tool":
                return tool_response_message_from_proto(message.tool)
            case "tool_response":
                return tool_response_from_proto(message.tool_response)
            case _:
                return completion_message_from_proto(message.assistant)


def message_to_proto(message: Message) -> pb.Message:
    match message:
        case UserMessage():
            return pb.Message(user=user_message_to_proto(message))
        case SystemMessage():
            return pb.Message(system=pb.SystemMessage(content=content_to_proto(message.content)))
        case ToolResponseMessage():
            return pb.Message(tool=tool_response_message_to_proto(message))
        case CompletionMessage():
            return pb.Message(assistant=completion_message_to_proto(message))
        case ToolResponse():
            return pb.Message(tool_response=tool_response_to_proto(message))
        case _:
            assert_never(message)


def required_content(message: Any, field: str = "content") -> InterleavedContent:
    content = require(message, field)
    with at(field):
        return content_from_proto(content)


def user_message_from_proto(message: pb.UserMessage) -> UserMessage:
    content = required_content(message)
    context = required_content(message, "context") if message.HasField("context") else None
    return UserMessage(content=content, context=context)


def user_message_to_proto(message: UserMessage) -> pb.UserMessage:
    context = None if message.context is None else content_to_proto(message.context)
    return pb.UserMessage(content=content_to_proto(message.content), context=context)


def tool_response_message_from_proto(message: pb.ToolResponseMessage) -> ToolResponseMessage:
    return build(
        ToolResponseMessage,
        call_id=message.call_id,
        tool_name=maybe(message, "tool_name", tool_name_from_proto),
        content=required_content(message),
    )


def tool_response_message_to_proto(message: ToolResponseMessage) -> pb.ToolResponseMessage:
    return pb.ToolResponseMessage(
        call_id=message.call_id,
        tool_name=None if message.tool_name is None else tool_name_to_proto(message.tool_name),
        content=content_to_proto(message.content),
    )


def completion_message_from_proto(message: pb.CompletionMessage) -> CompletionMessage:
    return CompletionMessage(
        content=required_content(message),
        stop_reason=STOP_REASON.from_proto(message.stop_reason, "stop_reason"),
        tool_calls=each(message.tool_calls, "tool_calls", tool_call_from_proto),
        reasoning=message.reasoning,
    )


def completion_message_to_proto(message: CompletionMessage) -> pb.CompletionMessage:
    return pb.CompletionMessage(
        content=content_to_proto(message.content),
        stop_reason=STOP_REASON.to_proto(message.stop_reason),
        tool_calls=map(tool_call_to_proto, message.tool_calls),
        reasoning=message.reasoning,
    )


def tool_response_from_proto(message: pb.ToolResponse) -> ToolResponse:
    name = require(message, "tool_name")
    with at("tool_name"):
        tool_name = tool_name_from_proto(name)
    metadata = facts_from_proto(message.metadata, "metadata") if message.HasField("metadata") else None
    return build(
        ToolResponse,
        call_id=message.call_id,
        tool_name=tool_name,
        content=required_content(message),
        metadata=metadata,
    )


def tool_response_to_proto(response: ToolResponse) -> pb.ToolResponse:
    return pb.ToolResponse(
        call_id=response.call_id,
        tool_name=tool_name_to_proto(response.tool_name),
        content=content_to_proto(response.content),
        metadata=None if response.metadata is None else struct_of(response.metadata),
    )
