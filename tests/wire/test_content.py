"""Deltas that can't be read."""

import pytest

from inferwire.v1 import content_pb2 as pb
from service.errors import InvalidField, UnknownField
from service.wire.content import delta_from_proto


def test_a_tool_call_delta_says_how_far_the_call_is() -> None:
    with pytest.raises(InvalidField, match=r"^tool_call\.parse_status: A value is required"):
        delta_from_proto(pb.ContentDelta(tool_call=pb.ToolCallDelta(fragment="[get")))


def test_a_verdict_of_a_newer_server_is_blamed_inside_the_call() -> None:
    delta = pb.ToolCallDelta(call={"verdict": 99}, parse_status=pb.TOOL_CALL_PARSE_STATUS_FAILED)
    with pytest.raises(UnknownField, match=r"^tool_call\.call\.verdict"):
        delta_from_proto(pb.ContentDelta(tool_call=delta))
