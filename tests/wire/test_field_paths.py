"""A broken request is refused with the path of the field that is to blame, as the contract spells it."""

import math
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.message import Message

from inferwire.v1.chat_pb2 import ChatCompletionRequest
from inferwire.v1.completion_pb2 import CompletionRequest
from inferwire.v1.embeddings_pb2 import EmbeddingsRequest
from service.errors import InvalidField, RequestError, UnknownField
from service.wire.chat import chat_request_from_proto
from service.wire.completion import completion_request_from_proto
from service.wire.embeddings import embeddings_request_from_proto
from service.wire.fields import MOST_TOLD

DECODERS: dict[type[Message], Callable[[Any], Any]] = {
    ChatCompletionRequest: chat_request_from_proto,
    CompletionRequest: completion_request_from_proto,
    EmbeddingsRequest: embeddings_request_from_proto,
}
UNKNOWN_NUMBER = 99
IMAGE = {"data": {"data": b"\x89PNG", "mime_type": "image/png"}}


def chat(**fields: Any) -> ChatCompletionRequest:
    return ChatCompletionRequest(**{"model_id": "m", "messages": [{"user": {"content": {"text": "Hi"}}}], **fields})


def said(*messages: dict[str, Any]) -> ChatCompletionRequest:
    """A chat in which only the messages behind the first can be to blame."""
    return chat(messages=[{"user": {"content": {"text": "Hi"}}}, *messages])


def sampled(**params: Any) -> ChatCompletionRequest:
    return chat(sampling_params=params)


def shaped(**response_format: Any) -> ChatCompletionRequest:
    return chat(response_format=response_format)


def with_tools(*tools: dict[str, Any]) -> ChatCompletionRequest:
    return chat(tools=[{"tool_name": {"custom": "good"}}, *tools])


def completion(**fields: Any) -> CompletionRequest:
    return CompletionRequest(**{"model_id": "m", "content": {"text": "Once"}, **fields})


def embeddings(**fields: Any) -> EmbeddingsRequest:
    return EmbeddingsRequest(**{"model_id": "m", "contents": [{"text": "Hi"}], **fields})


def user(**content: Any) -> dict[str, Any]:
    return {"user": {"content": content}}


def assistant(call: dict[str, Any]) -> dict[str, Any]:
    return {"assistant": {"content": {"text": ""}, "tool_calls": [call]}}


INVALID = [
    (chat(model_id=""), "model_id"),
    (chat(messages=[]), "messages"),
    (said({}), "messages[1]"),
    (said({"user": {}}), "messages[1].user.content"),
    (said({"system": {}}), "messages[1].system.content"),
    (said({"tool": {"call_id": "1"}}), "messages[1].tool.content"),
    (said({"assistant": {}}), "messages[1].assistant.content"),
    (said(user()), "messages[1].user.content"),
    (said(user(items={})), "messages[1].user.content.items.items"),
    (said(user(items={"items": [{}]})), "messages[1].user.content.items.items[0]"),
    (said(user(items={"items": [{"image": {}}]})), "messages[1].user.content.items.items[0].image"),
    (said(user(items={"items": [{"image": {"url": ""}}]})), "messages[1].user.content.items.items[0].image.url"),
    (
        said(user(items={"items": [{"image": {"data": IMAGE["data"] | {"data": b""}}}]})),
        "messages[1].user.content.items.items[0].image.data.data",
    ),
    (
        said(user(items={"items": [{"text": "a"}, {"image": {"data": {"data": b"a"}}}]})),
        "messages[1].user.content.items.items[1].image.data.mime_type",
    ),
    (said({"user": {"content": {"text": ""}, "context": {}}}), "messages[1].user.context"),
    (said({"tool": {"tool_name": {}, "content": {"text": ""}}}), "messages[1].tool.tool_name"),
    (said({"tool": {"tool_name": {"custom": ""}, "content": {"text": ""}}}), "messages[1].tool.tool_name.custom"),
    (said(assistant({"tool_name": {}})), "messages[1].assistant.tool_calls[0].tool_name"),
    (
        said(assistant({"tool_name": {"custom": "no spaces"}})),
        "messages[1].assistant.tool_calls[0].tool_name.custom",
    ),
    (sampled(max_tokens=-1), "sampling_params.max_tokens"),
    (sampled(min_tokens=-1), "sampling_params.min_tokens"),
    (sampled(repetition_penalty=0), "sampling_params.repetition_penalty"),
    (sampled(repetition_penalty=2.5), "sampling_params.repetition_penalty"),
    (sampled(repetition_penalty=math.nan), "sampling_params.repetition_penalty"),
    (sampled(min_p=1.5), "sampling_params.min_p"),
    (sampled(min_p=math.nan), "sampling_params.min_p"),
    (sampled(presence_penalty=-2.5), "sampling_params.presence_penalty"),
    (sampled(presence_penalty=-math.inf), "sampling_params.presence_penalty"),
    (sampled(frequency_penalty=math.nan), "sampling_params.frequency_penalty"),
    (sampled(stop=[""]), "sampling_params.stop[0]"),
    (sampled(stop=["a", "b" * 257]), "sampling_params.stop[1]"),
    (sampled(stop=["a"] * 17), "sampling_params.stop"),
    (sampled(stop_token_ids=[1, -1]), "sampling_params.stop_token_ids[1]"),
    (sampled(stop_token_ids=[1] * 65), "sampling_params.stop_token_ids"),
    (sampled(logit_bias={-1: 1.0}), "sampling_params.logit_bias[-1]"),
    (sampled(logit_bias={7: 101.0}), "sampling_params.logit_bias[7]"),
    (sampled(logit_bias={7: math.inf}), "sampling_params.logit_bias[7]"),
    (sampled(logit_bias=dict.fromkeys(range(1025), 0.0)), "sampling_params.logit_bias"),
    (sampled(top_p={"temperature": 0}), "sampling_params.top_p.temperature"),
    (sampled(top_p={"temperature": 101}), "sampling_params.top_p.temperature"),
    (sampled(top_p={"temperature": math.nan}), "sampling_params.top_p.temperature"),
    (sampled(top_p={"temperature": math.inf}), "sampling_params.top_p.temperature"),
    (sampled(top_p={"top_p": 0}), "sampling_params.top_p.top_p"),
    (sampled(top_p={"top_p": 1.5}), "sampling_params.top_p.top_p"),
    (sampled(top_k={}), "sampling_params.top_k.top_k"),
    (sampled(top_k={"top_k": 1, "temperature": -1}), "sampling_params.top_k.temperature"),
    (sampled(top_k={"top_k": 1, "top_p": math.nan}), "sampling_params.top_k.top_p"),
    (with_tools({}), "tools[1].tool_name"),
    (with_tools({"tool_name": {}}), "tools[1].tool_name"),
    (with_tools({"tool_name": {"builtin": 0}}), "tools[1].tool_name.builtin"),
    (with_tools({"tool_name": {"custom": "a" * 65}}), "tools[1].tool_name.custom"),
    (with_tools({"tool_name": {"custom": "x\n"}}), "tools[1].tool_name.custom"),
    (with_tools({"tool_name": {"custom": "x"}, "input_schema_json": ""}), "tools[1].input_schema_json"),
    (
        with_tools({"tool_name": {"custom": "x"}, "parameters": {"parameters": [{"name": "a"}]}}),
        "tools[1].parameters.parameters[0].param_type",
    ),
    (
        with_tools({"tool_name": {"custom": "x"}, "parameters": {"parameters": [{"param_type": "string"}]}}),
        "tools[1].parameters.parameters[0].name",
    ),
    (chat(tools=[{"tool_name": {"custom": f"t{n}"}} for n in range(129)]), "tools"),
    (chat(tool_config={"named_tool": {}}), "tool_config.named_tool"),
    (chat(tool_config={"named_tool": {"custom": "no spaces"}}), "tool_config.named_tool.custom"),
    (chat(logprobs={"top_k": -1}), "logprobs.top_k"),
    (shaped(), "response_format"),
    (shaped(json_schema={}), "response_format.json_schema.json_schema"),
    (shaped(grammar={}), "response_format.grammar"),
    (shaped(grammar={"ebnf": ""}), "response_format.grammar.ebnf"),
    (shaped(grammar={"bnf": {}}), "response_format.grammar.bnf.rules"),
    (shaped(regex={}), "response_format.regex.pattern"),
    (shaped(choice={}), "response_format.choice.choices"),
    (shaped(choice={"choices": ["a", "b", ""]}), "response_format.choice.choices[2]"),
    (completion(model_id=""), "model_id"),
    (CompletionRequest(model_id="m"), "content"),
    (completion(content={}), "content"),
    (completion(content={"items": {"items": [{"image": {}}]}}), "content.items.items[0].image"),
    (completion(sampling_params={"stop": [""]}), "sampling_params.stop[0]"),
    (completion(response_format={}), "response_format"),
    (completion(logprobs={"top_k": -1}), "logprobs.top_k"),
    (embeddings(model_id=""), "model_id"),
    (embeddings(contents=[]), "contents"),
    (embeddings(contents=[{"text": "a"}, {}]), "contents[1]"),
    (embeddings(contents=[{"image": {}}]), "contents[0].image"),
    (embeddings(output_dimension=0), "output_dimension"),
]

UNKNOWN = [
    (chat(tool_config={"choice": UNKNOWN_NUMBER}), "tool_config.choice"),
    (chat(tool_config={"named_tool": {"builtin": UNKNOWN_NUMBER}}), "tool_config.named_tool.builtin"),
    (chat(tool_config={"tool_prompt_format": UNKNOWN_NUMBER}), "tool_config.tool_prompt_format"),
    (chat(tool_config={"system_message_behavior": UNKNOWN_NUMBER}), "tool_config.system_message_behavior"),
    (with_tools({"tool_name": {"builtin": UNKNOWN_NUMBER}}), "tools[1].tool_name.builtin"),
    (
        said({"assistant": {"content": {"text": ""}, "stop_reason": UNKNOWN_NUMBER}}),
        "messages[1].assistant.stop_reason",
    ),
    (said(assistant({"verdict": -1})), "messages[1].assistant.tool_calls[0].verdict"),
    (embeddings(text_truncation=UNKNOWN_NUMBER), "text_truncation"),
    (embeddings(task_type=UNKNOWN_NUMBER), "task_type"),
    (embeddings(encoding=UNKNOWN_NUMBER), "encoding"),
]


def paths_of(request: Message, kind: type[RequestError]) -> list[str]:
    with pytest.raises(kind) as refused:
        DECODERS[type(request)](request)
    return list(dict.fromkeys(violation.field for violation in refused.value.violations))


@pytest.mark.parametrize(("request_", "path"), INVALID, ids=[path for _, path in INVALID])
def test_a_wrong_value_is_blamed_by_path(request_: Message, path: str) -> None:
    assert paths_of(request_, InvalidField) == [path]


@pytest.mark.parametrize(("request_", "path"), UNKNOWN, ids=[path for _, path in UNKNOWN])
def test_an_unknown_enum_value_is_blamed_by_path(request_: Message, path: str) -> None:
    assert paths_of(request_, UnknownField) == [path]


@pytest.mark.parametrize(("request_", "path"), INVALID + UNKNOWN, ids=[path for _, path in INVALID + UNKNOWN])
def test_every_blamed_path_is_one_of_the_contract(request_: Message, path: str) -> None:
    descriptor = request_.DESCRIPTOR
    for step in path.split("."):
        field = descriptor.fields_by_name[step.partition("[")[0]]
        descriptor = field.message_type


def test_all_wrong_values_of_one_message_are_blamed_at_once() -> None:
    assert set(paths_of(sampled(max_tokens=-1, min_p=2), InvalidField)) == {
        "sampling_params.max_tokens",
        "sampling_params.min_p",
    }


def test_enough_wrong_items_are_enough() -> None:
    assert len(paths_of(chat(messages=[{}] * 5000), InvalidField)) == MOST_TOLD
    assert len(paths_of(sampled(stop=[""] * 5000), InvalidField)) == MOST_TOLD


@pytest.mark.parametrize("request_", [chat(), completion(), embeddings()], ids=["chat", "completion", "embeddings"])
def test_the_requests_that_are_broken_here_are_sound_otherwise(request_: Message) -> None:
    assert DECODERS[type(request_)](request_).model_id == "m"
