"""The stream of a chat, as it looks to callers."""

import pytest

from inferwire.v1 import chat_pb2 as pb
from service.api.events import Complete, Start
from service.api.messages import StopReason
from service.api.usage import Timings, Usage
from service.errors import InvalidField, UnknownField
from service.wire.chat import chat_chunk_from_proto, chat_chunk_to_proto

COMPLETE = Complete(
    sequence=2, stop_reason=StopReason.END_OF_TURN, usage=Usage(1, 0, 1), timings=Timings(0.0, None, 1.0), metrics=()
)


@pytest.mark.parametrize("event", [Start(0, "m", "r"), COMPLETE], ids=["start", "complete"])
def test_first_and_last_event_carry_empty_text(event: Start | Complete) -> None:
    delta = chat_chunk_to_proto(event).event.delta
    assert delta.WhichOneof("delta") == "text"
    assert delta.text.text == ""


@pytest.mark.parametrize("event_type", [pb.RESPONSE_EVENT_TYPE_UNSPECIFIED, 99])
def test_an_event_of_unknown_type_is_not_taken_for_progress(event_type: int) -> None:
    chunk = pb.ChatCompletionResponseStreamChunk(event={"event_type": event_type, "delta": {"text": {"text": "a"}}})
    with pytest.raises(UnknownField, match=r"event\.event_type"):
        chat_chunk_from_proto(chunk)


def test_progress_without_delta_is_refused() -> None:
    chunk = pb.ChatCompletionResponseStreamChunk(event={"event_type": pb.RESPONSE_EVENT_TYPE_PROGRESS})
    with pytest.raises(InvalidField, match=r"event\.delta: One of text, image, tool_call, reasoning is required"):
        chat_chunk_from_proto(chunk)


def test_an_end_without_stop_reason_is_refused() -> None:
    chunk = pb.ChatCompletionResponseStreamChunk(event={"event_type": pb.RESPONSE_EVENT_TYPE_COMPLETE})
    with pytest.raises(InvalidField, match="stop_reason"):
        chat_chunk_from_proto(chunk)
