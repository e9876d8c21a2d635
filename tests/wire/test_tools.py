"""What the converters of tools change on purpose."""

import pytest

from inferwire.v1 import tools_pb2 as pb
from service.api.tools import BuiltinTool
from service.wire.tools import tool_config_from_proto, tool_name_from_proto, tool_name_to_proto


@pytest.mark.parametrize("tool", BuiltinTool)
def test_a_custom_name_that_spells_a_builtin_tool_means_it(tool: BuiltinTool) -> None:
    name = tool_name_from_proto(pb.ToolName(custom=tool.value))
    assert name is tool
    assert tool_name_to_proto(name).WhichOneof("name") == "builtin"


def test_a_builtin_tool_is_spelled_in_lower_case_only() -> None:
    assert tool_name_from_proto(pb.ToolName(custom="Brave_Search")) == "Brave_Search"


def test_an_unspecified_mode_is_no_choice() -> None:
    config = tool_config_from_proto(pb.ToolConfig(choice=pb.TOOL_CHOICE_UNSPECIFIED))
    assert config.tool_choice is None


def test_a_tool_called_like_a_mode_can_be_chosen() -> None:
    config = tool_config_from_proto(pb.ToolConfig(named_tool=pb.ToolName(custom="none")))
    assert config.tool_choice.tool_name == "none"
