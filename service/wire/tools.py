"""Tool definitions, tool configuration and tool calls."""

from typing import assert_never

from pydantic import TypeAdapter, ValidationError

from inferwire.v1 import tools_pb2 as pb
from service.api.tools import (
    BuiltinTool,
    CustomToolName,
    NamedToolChoice,
    SystemMessageBehavior,
    ToolCall,
    ToolCallVerdict,
    ToolChoice,
    ToolConfig,
    ToolDefinition,
    ToolInputSchema,
    ToolName,
    ToolParamDefinition,
    ToolParameters,
    ToolPromptFormat,
)
from service.errors import InvalidField
from service.wire.fields import EnumPair, at, build, chosen, each, maybe, optional, require

BUILTIN_TOOL = EnumPair(BuiltinTool, pb.BuiltinTool, "BUILTIN_TOOL_")
VERDICT = EnumPair(ToolCallVerdict, pb.ToolCallVerdict, "TOOL_CALL_VERDICT_")
TOOL_CHOICE = EnumPair(ToolChoice, pb.ToolChoice, "TOOL_CHOICE_")
PROMPT_FORMAT = EnumPair(ToolPromptFormat, pb.ToolPromptFormat, "TOOL_PROMPT_FORMAT_")
SYSTEM_MESSAGE_BEHAVIOR = EnumPair(SystemMessageBehavior, pb.SystemMessageBehavior, "SYSTEM_MESSAGE_BEHAVIOR_")
CUSTOM_TOOL_NAME = TypeAdapter(CustomToolName)


def tool_name_from_proto(message: pb.ToolName) -> ToolName:
    """A custom name that spells a built-in tool means that tool."""
    if chosen(message, "name") == "builtin":
        return BUILTIN_TOOL.required_from_proto(message.builtin, "builtin")
    try:
        return BuiltinTool(message.custom)
    except ValueError:
        return _custom_name(message.custom)


def _custom_name(name: str) -> str:
    try:
        return CUSTOM_TOOL_NAME.validate_python(name)
    except ValidationError:
        raise InvalidField("custom", "A tool's name is 1 to 64 characters of A-Z a-z 0-9 _ . -.") from None


def tool_name_to_proto(name: ToolName) -> pb.ToolName:
    if isinstance(name, BuiltinTool):
        return pb.ToolName(builtin=BUILTIN_TOOL.to_proto(name))
    return pb.ToolName(custom=name)


def tool_call_from_proto(message: pb.ToolCall) -> ToolCall:
    return build(
        ToolCall,
        call_id=message.call_id,
        tool_name=maybe(message, "tool_name", tool_name_from_proto),
        arguments_json=message.arguments_json,
        verdict=VERDICT.from_proto(message.verdict, "verdict"),
        problem=optional(message, "problem"),
        raw_text=optional(message, "raw_text"),
    )


def tool_call_to_proto(call: ToolCall) -> pb.ToolCall:
    return pb.ToolCall(
        call_id=call.call_id,
        tool_name=None if call.tool_name is None else tool_name_to_proto(call.tool_name),
        arguments_json=call.arguments_json,
        verdict=VERDICT.to_proto(call.verdict),
        problem=call.problem,
        raw_text=call.raw_text,
    )


def tool_definition_from_proto(message: pb.ToolDefinition) -> ToolDefinition:
    tool_name = require(message, "tool_name")
    with at("tool_name"):
        name = tool_name_from_proto(tool_name)
    return build(
        ToolDefinition,
        tool_name=name,
        description=optional(message, "description"),
        input=_tool_input_from_proto(message),
    )


def _tool_input_from_proto(message: pb.ToolDefinition) -> ToolParameters | ToolInputSchema | None:
    match message.WhichOneof("input"):
        case "parameters":
            parameters = each(message.parameters.parameters, "parameters.parameters", tool_parameter_from_proto)
            return ToolParameters(parameters=parameters)
        case "input_schema_json":
            return build(ToolInputSchema, input_schema_json=message.input_schema_json)
        case _:
            return None


def tool_definition_to_proto(tool: ToolDefinition) -> pb.ToolDefinition:
    message = pb.ToolDefinition(tool_name=tool_name_to_proto(tool.tool_name), description=tool.description)
    match tool.input:
        case ToolParameters(parameters=parameters):
            message.parameters.CopyFrom(pb.ToolParameters(parameters=map(tool_parameter_to_proto, parameters)))
        case ToolInputSchema(input_schema_json=schema):
            message.input_schema_json = schema
        case None:
            pass
        case _:
            assert_never(tool.input)
    return message


def tool_parameter_from_proto(message: pb.ToolParamDefinition) -> ToolParamDefinition:
    return build(
        ToolParamDefinition,
        name=message.name,
        param_type=message.param_type,
        description=optional(message, "description"),
        required=optional(message, "required"),
        default_json=optional(message, "default_json"),
    )


def tool_parameter_to_proto(parameter: ToolParamDefinition) -> pb.ToolParamDefinition:
    return pb.ToolParamDefinition(
        name=parameter.name,
        param_type=parameter.param_type,
        description=parameter.description,
        required=parameter.required,
        default_json=parameter.default_json,
    )


def tool_config_from_proto(message: pb.ToolConfig) -> ToolConfig:
    return build(
        ToolConfig,
        tool_choice=_tool_choice_from_proto(message),
        tool_prompt_format=PROMPT_FORMAT.from_proto(message.tool_prompt_format, "tool_prompt_format"),
        system_message_behavior=SYSTEM_MESSAGE_BEHAVIOR.from_proto(
            message.system_message_behavior, "system_message_behavior"
        ),
        parallel_tool_calls=optional(message, "parallel_tool_calls"),
    )


def _tool_choice_from_proto(message: pb.ToolConfig) -> ToolChoice | NamedToolChoice | None:
    match message.WhichOneof("tool_choice"):
        case "choice":
            return TOOL_CHOICE.from_proto(message.choice, "choice")
        case "named_tool":
            with at("named_tool"):
                return build(NamedToolChoice, tool_name=tool_name_from_proto(message.named_tool))
        case _:
            return None


def tool_config_to_proto(config: ToolConfig) -> pb.ToolConfig:
    message = pb.ToolConfig(
        tool_prompt_format=PROMPT_FORMAT.to_proto(config.tool_prompt_format),
        system_message_behavior=SYSTEM_MESSAGE_BEHAVIOR.to_proto(config.system_message_behavior),
        parallel_tool_calls=config.parallel_tool_calls,
    )
    match config.tool_choice:
        case ToolChoice() as choice:
            message.choice = TOOL_CHOICE.to_proto(choice)
        case NamedToolChoice(tool_name=name):
            message.named_tool.CopyFrom(tool_name_to_proto(name))
        case None:
            pass
        case _:
            assert_never(config.tool_choice)
    return message
