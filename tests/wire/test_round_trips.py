"""What goes through a pair of converters comes back the same, from either side and in every encoding."""

from contextlib import suppress
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import RequestError
from tests.strategies import shapes
from tests.strategies.protos import accepted, any_message
from tests.wire.pairs import PAIRS, Pair

SHAPES = {
    "capabilities": shapes.capabilities,
    "chat_chunk": shapes.chat_events,
    "chat_request": shapes.chat_requests,
    "chat_response": shapes.chat_responses,
    "completion_chunk": shapes.completion_events,
    "completion_message": shapes.completion_messages,
    "completion_request": shapes.completion_requests,
    "completion_response": shapes.completion_responses,
    "content": shapes.contents,
    "delta": shapes.deltas,
    "detokenize_request": shapes.detokenize_requests,
    "detokenize_response": shapes.detokenize_responses,
    "embedding": shapes.embeddings,
    "embedding_item": shapes.embedding_items,
    "embedding_options": shapes.embedding_options,
    "embeddings_request": shapes.embeddings_requests,
    "embeddings_response": shapes.embeddings_responses,
    "image": shapes.images,
    "item": shapes.items,
    "limits": shapes.limits,
    "log_prob_config": shapes.log_prob_configs,
    "message": shapes.messages,
    "metric": shapes.metric_events,
    "model": shapes.models,
    "model_load": shapes.model_loads,
    "preflight_report": shapes.preflight_reports,
    "preflight_request": shapes.chat_requests | shapes.completion_requests,
    "quantization": shapes.quantizations,
    "reasoning_config": shapes.reasoning_configs,
    "response_format": shapes.response_formats,
    "sampling_params": shapes.sampling_params,
    "rerank_document": shapes.rerank_documents,
    "rerank_request": shapes.rerank_requests,
    "rerank_response": shapes.rerank_responses,
    "rerank_result": shapes.rerank_results,
    "score_pair": shapes.score_pairs,
    "score_request": shapes.score_requests,
    "score_response": shapes.score_responses,
    "score_result": shapes.score_results,
    "seconds": shapes.spans_s,
    "server_load": shapes.server_loads,
    "timings": shapes.timings,
    "tokenize_request": shapes.tokenize_requests,
    "tokenize_response": shapes.tokenize_responses,
    "tool_call": shapes.tool_calls,
    "tool_call_delta": shapes.tool_call_deltas,
    "tool_config": shapes.tool_configs,
    "tool_definition": shapes.tool_definitions,
    "tool_name": shapes.tool_names,
    "tool_parameter": shapes.tool_parameters,
    "tool_response": shapes.tool_responses,
    "tool_response_message": shapes.tool_response_messages,
    "usage": shapes.usages,
    "user_message": shapes.user_messages,
}

every_pair = pytest.mark.parametrize("pair", PAIRS, ids=str)
quick = settings(max_examples=50)


def test_every_pair_has_a_shape() -> None:
    assert {pair.name for pair in PAIRS} == set(SHAPES)


@every_pair
@quick
@given(data=st.data())
def test_an_api_object_survives(pair: Pair, data: st.DataObject) -> None:
    shape = data.draw(SHAPES[pair.name])
    message = pair.to_proto(shape)

    assert pair.from_proto(message) == shape
    assert pair.from_proto(through_bytes(message)) == shape
    assert pair.from_proto(through_json(message)) == shape


@every_pair
@quick
@given(data=st.data())
def test_a_message_survives(pair: Pair, data: st.DataObject) -> None:
    message = data.draw(accepted(pair.proto.DESCRIPTOR))

    assert pair.to_proto(pair.from_proto(message)) == message


@every_pair
@quick
@given(data=st.data())
def test_any_message_is_read_or_refused_as_a_request(pair: Pair, data: st.DataObject) -> None:
    message = data.draw(any_message(pair.proto.DESCRIPTOR))
    with suppress(RequestError):
        shape = pair.from_proto(message)
        assert isinstance(pair.to_proto(shape), pair.proto)


def through_bytes(message: Any) -> Any:
    return type(message).FromString(message.SerializeToString())


def through_json(message: Any) -> Any:
    return json_format.Parse(json_format.MessageToJson(message), type(message)())
