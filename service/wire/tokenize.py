"""Requests to tokenise and to detokenise, and their answers."""

from inferwire.v1 import tokenize_pb2 as pb
from service.api.tokenize import (
    DetokenizeRequest,
    DetokenizeResponse,
    TokenizeConversation,
    TokenizeRequest,
    TokenizeResponse,
    TokenizeText,
    TokenSpan,
)
from service.wire.chat import reasoning_config_from_proto, reasoning_config_to_proto
from service.wire.fields import at, build, chosen, each, gathered, given, maybe, optional
from service.wire.messages import message_from_proto, message_to_proto
from service.wire.response_format import response_format_from_proto, response_format_to_proto
from service.wire.tools import (
    tool_config_from_proto,
    tool_config_to_proto,
    tool_definition_from_proto,
    tool_definition_to_proto,
)
from service.wire.usage import timings_from_proto, timings_to_proto, usage_from_proto, usage_to_proto


def tokenize_request_from_proto(message: pb.TokenizeRequest) -> TokenizeRequest:
    return build(
        TokenizeRequest,
        **gathered(
            model_id=lambda: message.model_id,
            input=lambda: _input_from_proto(message),
            return_pieces=lambda: message.return_pieces,
        ),
    )


def _input_from_proto(message: pb.TokenizeRequest) -> TokenizeText | TokenizeConversation:
    if chosen(message, "input") == "conversation":
        with at("conversation"):
            return _conversation_from_proto(message.conversation)
    return TokenizeText(
        text=message.text.text,
        add_special_tokens=optional(message.text, "add_special_tokens"),
        return_spans=message.text.return_spans,
    )


def _conversation_from_proto(message: pb.TokenizeConversation) -> TokenizeConversation:
    return build(
        TokenizeConversation,
        **gathered(
            messages=lambda: each(message.messages, "messages", message_from_proto),
            tools=lambda: each(message.tools, "tools", tool_definition_from_proto),
            tool_config=lambda: maybe(message, "tool_config", tool_config_from_proto),
            response_format=lambda: maybe(message, "response_format", response_format_from_proto),
            reasoning=lambda: maybe(message, "reasoning", reasoning_config_from_proto),
        ),
    )


def tokenize_request_to_proto(request: TokenizeRequest) -> pb.TokenizeRequest:
    message = pb.TokenizeRequest(model_id=request.model_id, return_pieces=request.return_pieces)
    match request.input:
        case TokenizeText(text=text, add_special_tokens=added, return_spans=spans):
            message.text.CopyFrom(pb.TokenizeText(text=text, add_special_tokens=added, return_spans=spans))
        case TokenizeConversation():
            message.conversation.CopyFrom(_conversation_to_proto(request.input))
    return message


def _conversation_to_proto(conversation: TokenizeConversation) -> pb.TokenizeConversation:
    shape = conversation.response_format
    return pb.TokenizeConversation(
        messages=map(message_to_proto, conversation.messages),
        tools=map(tool_definition_to_proto, conversation.tools),
        tool_config=given(tool_config_to_proto, conversation.tool_config),
        response_format=None if shape is None else response_format_to_proto(shape),
        reasoning=given(reasoning_config_to_proto, conversation.reasoning),
    )


def tokenize_response_from_proto(message: pb.TokenizeResponse) -> TokenizeResponse:
    return TokenizeResponse(
        token_ids=tuple(message.token_ids),
        pieces=tuple(message.pieces),
        spans=tuple(TokenSpan(span.start, span.end) for span in message.spans),
        count=message.count,
        context_length=message.context_length,
        usage=usage_from_proto(message.usage),
        timings=timings_from_proto(message.timings),
        model_id=message.model_id,
        request_id=message.request_id,
    )


def tokenize_response_to_proto(response: TokenizeResponse) -> pb.TokenizeResponse:
    return pb.TokenizeResponse(
        token_ids=response.token_ids,
        pieces=response.pieces,
        spans=(pb.TokenSpan(start=span.start, end=span.end) for span in response.spans),
        count=response.count,
        context_length=response.context_length,
        usage=usage_to_proto(response.usage),
        timings=timings_to_proto(response.timings),
        model_id=response.model_id,
        request_id=response.request_id,
    )


def detokenize_request_from_proto(message: pb.DetokenizeRequest) -> DetokenizeRequest:
    return build(
        DetokenizeRequest,
        model_id=message.model_id,
        token_ids=tuple(message.token_ids),
        skip_special_tokens=message.skip_special_tokens,
    )


def detokenize_request_to_proto(request: DetokenizeRequest) -> pb.DetokenizeRequest:
    return pb.DetokenizeRequest(
        model_id=request.model_id,
        token_ids=request.token_ids,
        skip_special_tokens=request.skip_special_tokens,
    )


def detokenize_response_from_proto(message: pb.DetokenizeResponse) -> DetokenizeResponse:
    return DetokenizeResponse(
        text=message.text,
        data=message.data,
        usage=usage_from_proto(message.usage),
        timings=timings_from_proto(message.timings),
        model_id=message.model_id,
        request_id=message.request_id,
    )


def detokenize_response_to_proto(response: DetokenizeResponse) -> pb.DetokenizeResponse:
    return pb.DetokenizeResponse(
        text=response.text,
        data=response.data,
        usage=usage_to_proto(response.usage),
        timings=timings_to_proto(response.timings),
        model_id=response.model_id,
        request_id=response.request_id,
    )
