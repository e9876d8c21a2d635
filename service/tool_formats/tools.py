"""The tools of a request, each with the JSON Schema of its arguments."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from service.api.tools import (
    BuiltinTool,
    ToolDefinition,
    ToolInputSchema,
    ToolName,
    ToolParamDefinition,
    ToolParameters,
)
from service.tool_formats.param_types import schema_of_type

# What Llama models know by training.
BUILTIN_ARGUMENT = {
    BuiltinTool.BRAVE_SEARCH: "query",
    BuiltinTool.WOLFRAM_ALPHA: "query",
    BuiltinTool.PHOTOGEN: "query",
    BuiltinTool.CODE_INTERPRETER: "code",
}


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that a model may call."""

    name: ToolName
    description: str
    schema: dict[str, Any]
    """Of the arguments; its type is object."""
    parameters: Sequence[ToolParamDefinition] | None = None
    """The caller's flat parameters; None for a tool with a whole schema, and for a built-in one."""

    @property
    def builtin(self) -> bool:
        return isinstance(self.name, BuiltinTool)


def tool_of(definition: ToolDefinition) -> Tool:
    """Raises ValueError for a schema that is not JSON."""
    name, description = definition.tool_name, definition.description or ""
    if isinstance(name, BuiltinTool):
        return Tool(name, description, _object_schema({BUILTIN_ARGUMENT[name]: {"type": "string"}}))
    match definition.input:
        case ToolInputSchema(input_schema_json=text):
            return Tool(name, description, json.loads(text))
        case ToolParameters(parameters=parameters):
            return Tool(name, description, schema_of_parameters(parameters), parameters)
        case None:
            return Tool(name, description, _object_schema({}), ())


def schema_of_parameters(parameters: Sequence[ToolParamDefinition]) -> dict[str, Any]:
    """The JSON Schema of flat parameters: closed, in their order."""
    schema = _object_schema({parameter.name: _schema_of(parameter) for parameter in parameters})
    return schema | {"required": required_names(parameters)}


def required_names(parameters: Sequence[ToolParamDefinition]) -> list[str]:
    return [parameter.name for parameter in parameters if parameter.required is not False]


def _schema_of(parameter: ToolParamDefinition) -> dict[str, Any]:
    described = {} if parameter.description is None else {"description": parameter.description}
    return schema_of_type(parameter.param_type) | described


def _object_schema(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
