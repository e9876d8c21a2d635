"""Tools: what a model may call, how it is told so, and the calls that it makes."""

from enum import StrEnum
from typing import Annotated, TypeAlias

from pydantic import Field

from service.api.base import ApiModel


class BuiltinTool(StrEnum):
    BRAVE_SEARCH = "brave_search"
    WOLFRAM_ALPHA = "wolfram_alpha"
    PHOTOGEN = "photogen"
    CODE_INTERPRETER = "code_interpreter"


CustomToolName: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
ToolName: TypeAlias = BuiltinTool | CustomToolName


class ToolParamDefinition(ApiModel):
    """One flat parameter. `required` None means true; `default_json` is JSON text."""

    name: str = Field(min_length=1)
    param_type: str = Field(min_length=1)
    description: str | None = None
    required: bool | None = None
    default_json: str | None = None


class ToolParameters(ApiModel):
    parameters: tuple[ToolParamDefinition, ...] = ()


class ToolInputSchema(ApiModel):
    """A whole JSON Schema of type object."""

    input_schema_json: str = Field(min_length=1)


class ToolDefinition(ApiModel):
    tool_name: ToolName
    description: str | None = None
    input: ToolParameters | ToolInputSchema | None = None


class ToolCallVerdict(StrEnum):
    COMPLETE = "complete"
    TRUNCATED = "truncated"
    MALFORMED = "malformed"
    SCHEMA_VIOLATION = "schema_violation"
    UNKNOWN_TOOL = "unknown_tool"


class ToolCall(ApiModel):
    """A call that a model made, under whatever name it gave. In history only the first three fields count."""

    call_id: str
    tool_name: BuiltinTool | str | None
    arguments_json: str
    verdict: ToolCallVerdict | None = None
    problem: str | None = None
    raw_text: str | None = None


class ToolChoice(StrEnum):
    AUTO = "auto"
    REQUIRED = "required"
    NONE = "none"


class NamedToolChoice(ApiModel):
    """The model must call this tool."""

    tool_name: ToolName


class ToolPromptFormat(StrEnum):
    JSON = "json"
    FUNCTION_TAG = "function_tag"
    PYTHON_LIST = "python_list"


class SystemMessageBehavior(StrEnum):
    APPEND = "append"
    REPLACE = "replace"


class ToolConfig(ApiModel):
    tool_choice: ToolChoice | NamedToolChoice | None = None
    tool_prompt_format: ToolPromptFormat | None = None
    system_message_behavior: SystemMessageBehavior | None = None
    parallel_tool_calls: bool | None = None
