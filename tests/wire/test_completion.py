"""The stream of a completion, as it looks to callers."""

import pytest

from inferwire.v1 import chat_pb2
from inferwire.v1 import completion_pb2 as pb
from service.api.content import ImageDelta
from service.api.events import Progress
from service.errors import UnknownField
from service.wire.completion import completion_chunk_from_proto, completion_chunk_to_proto


def test_a_completion_streams_nothing_but_text() -> None:
    with pytest.raises(TypeError, match="no other deltas than text"):
        completion_chunk_to_proto(Progress(1, ImageDelta(b"")))


@pytest.mark.parametrize("event_type", [chat_pb2.RESPONSE_EVENT_TYPE_UNSPECIFIED, 99])
def test_a_chunk_of_unknown_type_is_not_taken_for_progress(event_type: int) -> None:
    with pytest.raises(UnknownField, match="event_type"):
        completion_chunk_from_proto(pb.CompletionResponseStreamChunk(event_type=event_type, delta="a"))
