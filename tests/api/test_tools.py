"""Names of tools."""

import pytest
from pydantic import ValidationError

from service.api.tools import BuiltinTool, NamedToolChoice, ToolDefinition


@pytest.mark.parametrize("name", ["a", "get_weather", "Files.read-all", "0", "x" * 64])
def test_a_plain_name_is_taken(name: str) -> None:
    assert ToolDefinition(tool_name=name).tool_name == name


@pytest.mark.parametrize("name", ["", "x" * 65, "get weather", "größe", "x\n", "a/b", "<tool>"])
def test_a_name_that_a_format_could_not_write_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        ToolDefinition(tool_name=name)


@pytest.mark.parametrize("tool", BuiltinTool)
def test_a_builtin_tool_stays_one(tool: BuiltinTool) -> None:
    assert NamedToolChoice(tool_name=tool).tool_name is tool
