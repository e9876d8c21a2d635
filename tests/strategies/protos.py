"""Messages of the contract, made from its descriptors: a field that is added there is generated here at once.

`accepted` makes messages that a server takes and that are written as the server would write them; `any_message` makes
whatever protobuf can carry, wrong numbers and missing parts included.
"""

import math
from collections.abc import Callable
from datetime import timedelta
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor, OneofDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from inferwire.v1 import chat_pb2
from tests.strategies import shapes

PACKAGE = "inferwire.v1."

FieldValues = Callable[[FieldDescriptor], SearchStrategy[Any]]

START, COMPLETE, PROGRESS = (
    chat_pb2.RESPONSE_EVENT_TYPE_START,
    chat_pb2.RESPONSE_EVENT_TYPE_COMPLETE,
    chat_pb2.RESPONSE_EVENT_TYPE_PROGRESS,
)

OPTIONAL_ONEOFS = {
    "SamplingParams.strategy",
    "ToolCallDelta.tool_call",
    "ToolConfig.tool_choice",
    "ToolDefinition.input",
}
OPTIONAL_MESSAGES = {"ToolCall.tool_name"}
NOT_EMPTY = {
    "BnfGrammar.rules",
    "ChatCompletionRequest.messages",
    "ChoiceResponseFormat.choices",
    "EmbeddingsRequest.contents",
    "InterleavedContentList.items",
    "RerankRequest.documents",
    "ScoreRequest.pairs",
    "TokenizeConversation.messages",
}
REQUIRED_ENUMS = {
    "CompletionResponse.stop_reason",
    "Model.model_type",
    "Model.state",
    "ModelLoad.state",
    "RerankResponse.score_type",
    "ScoreResponse.score_type",
    "ToolCallDelta.parse_status",
}

LIMITS: dict[str, SearchStrategy[Any]] = {
    "ChatCompletionRequest.model_id": shapes.words,
    "ChoiceResponseFormat.choices": shapes.words,
    "CompletionRequest.model_id": shapes.words,
    "EmbeddingsRequest.model_id": shapes.words,
    "DetokenizeRequest.model_id": shapes.words,
    "StreamEmbeddingsItem.id": shapes.words,
    "StreamEmbeddingsOptions.model_id": shapes.words,
    "ChatCompletionRequest.first_token_timeout": shapes.timeouts.map(lambda delta: _duration(delta)),
    "CompletionRequest.first_token_timeout": shapes.timeouts.map(lambda delta: _duration(delta)),
    "EmbeddingsRequest.output_dimension": st.integers(1, shapes.INT32_MAX),
    "StreamEmbeddingsOptions.output_dimension": st.integers(1, shapes.INT32_MAX),
    "GrammarResponseFormat.ebnf": shapes.words,
    "ImageBytes.data": st.binary(min_size=1, max_size=20),
    "ImageBytes.mime_type": shapes.words,
    "ImageContentItem.url": shapes.words,
    "JsonSchemaResponseFormat.json_schema": shapes.words,
    "LogProbConfig.top_k": shapes.counts,
    "ReasoningConfig.max_tokens": shapes.counts,
    "RegexResponseFormat.pattern": shapes.words,
    "SamplingParams.LogitBiasEntry.key": shapes.token_ids,
    "SamplingParams.LogitBiasEntry.value": shapes.biases,
    "SamplingParams.frequency_penalty": shapes.penalties,
    "SamplingParams.max_tokens": shapes.counts,
    "SamplingParams.min_p": shapes.float32(0, 1),
    "SamplingParams.min_tokens": shapes.counts,
    "SamplingParams.presence_penalty": shapes.penalties,
    "SamplingParams.repetition_penalty": shapes.float32(0, 2, above=True),
    "SamplingParams.stop": shapes.words,
    "SamplingParams.stop_token_ids": shapes.token_ids,
    "RerankDocument.text": shapes.words,
    "RerankRequest.model_id": shapes.words,
    "RerankRequest.query": shapes.words,
    "RerankRequest.top_n": st.integers(1, shapes.INT32_MAX),
    "ScorePair.document": shapes.words,
    "ScorePair.query": shapes.words,
    "ScoreRequest.model_id": shapes.words,
    "TokenizeRequest.model_id": shapes.words,
    "ToolDefinition.input_schema_json": shapes.words,
    "ToolName.custom": shapes.custom_tool_names,
    "ToolParamDefinition.name": shapes.words,
    "ToolParamDefinition.param_type": shapes.words,
    "TopKSamplingStrategy.temperature": shapes.temperatures,
    "TopKSamplingStrategy.top_k": st.integers(1, shapes.INT32_MAX),
    "TopKSamplingStrategy.top_p": shapes.shares,
    "TopPSamplingStrategy.temperature": shapes.temperatures,
    "TopPSamplingStrategy.top_p": shapes.shares,
}

TYPES: dict[int, SearchStrategy[Any]] = {
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    FieldDescriptor.TYPE_BYTES: st.binary(max_size=20),
    FieldDescriptor.TYPE_DOUBLE: st.floats(allow_nan=False),
    FieldDescriptor.TYPE_FLOAT: st.floats(allow_nan=False, width=32),
    FieldDescriptor.TYPE_INT32: st.integers(-shapes.INT32_MAX - 1, shapes.INT32_MAX),
    FieldDescriptor.TYPE_INT64: st.integers(-shapes.INT64_MAX - 1, shapes.INT64_MAX),
    FieldDescriptor.TYPE_STRING: shapes.texts,
}
WELL_KNOWN: dict[str, SearchStrategy[Any]] = {
    "google.protobuf.Duration": st.builds(Duration, seconds=st.integers(0, 10**6), nanos=st.integers(0, 10**9 - 1)),
    "google.protobuf.Struct": shapes.json_objects.map(lambda facts: _struct(facts)),
    "google.protobuf.Timestamp": st.builds(
        Timestamp, seconds=st.integers(0, 4 * 10**9), nanos=st.integers(0, 10**6 - 1).map(lambda micros: micros * 1000)
    ),
}
WILD: dict[str, SearchStrategy[Any]] = {
    "google.protobuf.Struct": st.sampled_from([math.nan, math.inf]).map(lambda number: _struct({"number": number})),
}


@cache
def accepted(descriptor: Descriptor) -> SearchStrategy[Any]:
    if descriptor.full_name in WELL_KNOWN:
        return WELL_KNOWN[descriptor.full_name]
    messages = _messages(descriptor, _accepted_value, _accepted_presence)
    match local_name(descriptor):
        case "ChatCompletionResponseStreamChunk":
            return messages.map(_chat_chunk)
        case "CompletionResponseStreamChunk":
            return messages.map(_completion_chunk)
        case _:
            return messages


@cache
def any_message(descriptor: Descriptor) -> SearchStrategy[Any]:
    if descriptor.full_name in WELL_KNOWN:
        return WELL_KNOWN[descriptor.full_name] | WILD.get(descriptor.full_name, st.nothing())
    return _messages(descriptor, _any_value, lambda _: False)


def _duration(delta: timedelta) -> Duration:
    duration = Duration()
    duration.FromTimedelta(delta)
    return duration


def own_oneof(field: FieldDescriptor) -> OneofDescriptor | None:
    """The oneof that the contract puts the field into; `optional` puts it into a hidden one."""
    oneof = field.containing_oneof
    return None if oneof is None or oneof.name == f"_{field.name}" else oneof


def local_name(described: Any) -> str:
    return described.full_name.removeprefix(PACKAGE)


def _messages(descriptor: Descriptor, value: FieldValues, required: Callable[[Any], bool]) -> SearchStrategy[Message]:
    slots = [field for field in descriptor.fields if own_oneof(field) is None]
    always = {field.name: value(field) for field in slots if required(field)}
    sometimes = {field.name: value(field) for field in slots if not required(field)}
    oneofs = [_members(oneof, value, required) for oneof in descriptor.oneofs if own_oneof(oneof.fields[0])]
    fields = st.tuples(st.fixed_dictionaries(always, optional=sometimes), *oneofs)
    make = GetMessageClass(descriptor)
    return fields.map(lambda parts: make(**{name: given for part in parts for name, given in part.items()}))


def _members(
    oneof: OneofDescriptor, value: FieldValues, required: Callable[[Any], bool]
) -> SearchStrategy[dict[str, Any]]:
    members = [st.fixed_dictionaries({field.name: value(field)}) for field in oneof.fields]
    return st.one_of(*members) if required(oneof) else st.one_of(st.just({}), *members)


def _accepted_presence(described: FieldDescriptor | OneofDescriptor) -> bool:
    """Oneofs and messages are always there, unless the contract says `optional` or the tables above do."""
    name = local_name(described)
    if isinstance(described, OneofDescriptor):
        return name not in OPTIONAL_ONEOFS
    if name in NOT_EMPTY or name in REQUIRED_ENUMS or name in LIMITS:
        return described.containing_oneof is None
    return described.message_type is not None and described.containing_oneof is None and name not in OPTIONAL_MESSAGES


def _accepted_value(field: FieldDescriptor) -> SearchStrategy[Any]:
    single = _single(field, accepted, _known_number)
    return _repeated(field, accepted, LIMITS.get(local_name(field), single))


def _any_value(field: FieldDescriptor) -> SearchStrategy[Any]:
    number = field.type in (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT)
    single = st.floats(width=32) if number else _single(field, any_message, lambda _: st.integers(-1, 9))
    return _repeated(field, any_message, single)


def _repeated(field: FieldDescriptor, nested: Any, single: SearchStrategy[Any]) -> SearchStrategy[Any]:
    if not field.is_repeated:
        return single
    least = 1 if local_name(field) in NOT_EMPTY and nested is accepted else 0
    if field.message_type is None or not field.message_type.GetOptions().map_entry:
        return st.lists(single, min_size=least, max_size=3)
    value = _accepted_value if nested is accepted else _any_value
    key, content = (value(field.message_type.fields_by_name[name]) for name in ("key", "value"))
    return st.dictionaries(key, content, min_size=least, max_size=3)


def _single(field: FieldDescriptor, nested: Any, numbers: FieldValues) -> SearchStrategy[Any]:
    if field.message_type is not None:
        return nested(field.message_type)
    return numbers(field) if field.enum_type is not None else TYPES[field.type]


def _known_number(field: FieldDescriptor) -> SearchStrategy[int]:
    """The numbers of an enum; 0 only where it says something that leaving the field out doesn't."""
    numbers = [value.number for value in field.enum_type.values]
    must_say = field.is_repeated or own_oneof(field) is not None or local_name(field) in REQUIRED_ENUMS
    return st.sampled_from(numbers[1:] if must_say else numbers)


def _struct(facts: dict[str, Any]) -> Struct:
    struct = Struct()
    struct.update(facts)
    return struct


def _chat_chunk(chunk: Any) -> Any:
    """Leaves in a chunk what its kind of event carries."""
    event = chunk.event
    event.event_type = event.event_type or PROGRESS
    if event.event_type == PROGRESS:
        return _only(chunk, {"event", "sequence"})
    _only(event, {"event_type"} | ({"stop_reason"} if event.event_type == COMPLETE else set()))
    event.delta.text.SetInParent()
    return _start(chunk, {"event"}) if event.event_type == START else _complete(chunk, event, {"event"})


def _completion_chunk(chunk: Any) -> Any:
    chunk.event_type = chunk.event_type or PROGRESS
    if chunk.event_type == PROGRESS:
        return _only(chunk, {"event_type", "sequence", "delta", "logprobs"})
    if chunk.event_type == START:
        return _start(chunk, {"event_type"})
    return _complete(chunk, chunk, {"event_type", "stop_reason"})


def _start(chunk: Any, kept: set[str]) -> Any:
    return _only(chunk, kept | {"sequence", "model_id", "request_id"})


def _complete(chunk: Any, with_stop_reason: Any, kept: set[str]) -> Any:
    with_stop_reason.stop_reason = with_stop_reason.stop_reason or 1
    for field in (chunk.usage, chunk.timings.queued, chunk.timings.total):
        field.SetInParent()
    return _only(chunk, kept | {"sequence", "usage", "timings", "metrics", "constraint_outcome"})


def _only(message: Any, kept: set[str]) -> Any:
    for field in message.DESCRIPTOR.fields:
        if field.name not in kept:
            message.ClearField(field.name)
    return message
