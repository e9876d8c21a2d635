"""What a tool runtime returned, read back."""

import pytest

from inferwire.v1 import messages_pb2 as pb
from service.errors import InvalidField
from service.wire.messages import tool_response_from_proto


def test_a_tool_response_names_its_tool() -> None:
    with pytest.raises(InvalidField, match=r"^tool_name: A value is required"):
        tool_response_from_proto(pb.ToolResponse(content={"text": ""}))
    with pytest.raises(InvalidField, match=r"^tool_name\.custom"):
        tool_response_from_proto(pb.ToolResponse(tool_name={"custom": "no spaces"}, content={"text": ""}))


def test_no_metadata_differs_from_empty_metadata() -> None:
    response = {"tool_name": {"custom": "search"}, "content": {"text": ""}}
    assert tool_response_from_proto(pb.ToolResponse(**response)).metadata is None
    assert tool_response_from_proto(pb.ToolResponse(**response, metadata={})).metadata == {}
