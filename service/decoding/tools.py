"""The tools of a request, checked; and the verdict on each call that a model makes."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from service.api.tools import BuiltinTool, ToolCall, ToolCallVerdict, ToolDefinition, ToolInputSchema, ToolParameters
from service.decoding.compile_check import CallersCheck
from service.decoding.grammars import GrammarKind, TooSlow
from service.decoding.json_schema import UnusableSchema, parse_schema
from service.decoding.validator import misfit
from service.errors import Findings, InvalidConstraint, InvalidField
from service.tool_formats.reading import CallRead
from service.tool_formats.tools import Tool, tool_of

# Processor time: calls are judged on the event loop, between the tokens of others.
JUDGE_S = 0.1


async def tried_tools(
    definitions: Sequence[ToolDefinition], max_bytes: int, compile_check: CallersCheck
) -> tuple[Tool, ...]:
    """The same as checked_tools, with schemas that have been tried on the decoder's library."""
    if not definitions:
        return ()
    async with compile_check.reading():
        tools = await asyncio.to_thread(checked_tools, definitions, max_bytes)
    custom = [(index, tool) for index, tool in enumerate(tools) if not tool.builtin]
    problems = await compile_check.problems(GrammarKind.JSON_SCHEMA, [json.dumps(tool.schema) for _, tool in custom])
    findings = Findings()
    for (index, tool), problem in zip(custom, problems, strict=True):
        with findings.noting():
            if problem:
                field = "input_schema_json" if tool.parameters is None else "parameters"
                raise InvalidConstraint(f"tools[{index}].{field}", problem)
    findings.raise_all()
    return tools


def checked_tools(definitions: Sequence[ToolDefinition], max_bytes: int) -> tuple[Tool, ...]:
    """Raises RequestErrors, which tell of all tools that no decoder could be held to.

    `max_bytes` bounds the schemas of all tools together. Takes milliseconds; call it off the event loop.
    """
    names = [definition.tool_name for definition in definitions]
    tools = []
    findings = Findings()
    for index, definition in enumerate(definitions):
        path = f"tools[{index}]"
        with findings.noting():
            if definition.tool_name in names[:index]:
                raise InvalidField(f"{path}.tool_name", f"There are two tools with the name {definition.tool_name}.")
            tools.append(_checked(definition, path, max_bytes))
            max_bytes -= len(json.dumps(tools[-1].schema))
    findings.raise_all()
    return tuple(tools)


def _checked(definition: ToolDefinition, path: str, max_bytes: int) -> Tool:
    match definition.input:
        case ToolInputSchema(input_schema_json=text):
            field = f"{path}.input_schema_json"
            _check_schema(text, field, max_bytes)
            tool = tool_of(definition)
            if tool.schema.get("type") != "object":
                raise InvalidField(field, "The type of a tool's arguments has to be `object`.")
        case ToolParameters() as given:
            field = f"{path}.parameters"
            _check_parameters(given, field)
            tool = tool_of(definition)
            _check_schema(json.dumps(tool.schema), field, max_bytes)
        case None:
            return tool_of(definition)
    if isinstance(definition.tool_name, BuiltinTool):
        raise InvalidField(field, f"{definition.tool_name} is a built-in tool; its arguments are known.")
    return tool


def _check_schema(text: str, field: str, max_bytes: int) -> None:
    if len(text.encode(errors="surrogatepass")) > max_bytes:
        raise InvalidConstraint(field, f"The schemas of the tools are too large: {max_bytes} bytes are left for it.")
    try:
        parse_schema(text)
    except UnusableSchema as error:
        raise InvalidConstraint(field, str(error)) from None


def _check_parameters(given: ToolParameters, field: str) -> None:
    names = [parameter.name for parameter in given.parameters]
    for index, parameter in enumerate(given.parameters):
        path = f"{field}.parameters[{index}]"
        if parameter.name in names[:index]:
            raise InvalidField(f"{path}.name", f"There are two parameters with the name {parameter.name}.")
        if parameter.default_json is not None:
            _check_json(parameter.default_json, f"{path}.default_json")


def _check_json(text: str, field: str) -> None:
    try:
        json.dumps(json.loads(text), ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise InvalidField(field, f"It is not JSON: {error}.") from None


class CallJudge:
    """Says of each call that was read whether it can be acted upon."""

    def __init__(self, tools: Sequence[Tool]) -> None:
        self._names = {str(tool.name): tool.name for tool in tools}
        self._schemas = {str(tool.name): tool.schema for tool in tools}

    def judge(self, call: CallRead, call_id: str, ended_early: bool) -> ToolCall:
        """`ended_early` when a limit or a stop string ended the answer, and with it a call that is cut."""
        verdict, problem = self._verdict(call, ended_early)
        complete = verdict is ToolCallVerdict.COMPLETE
        readable = verdict not in (ToolCallVerdict.TRUNCATED, ToolCallVerdict.MALFORMED)
        return ToolCall(
            call_id=call_id,
            tool_name=self._names.get(call.name or "", call.name),
            arguments_json=(call.arguments_json or "") if readable else "",
            verdict=verdict,
            problem=problem,
            raw_text=None if complete else call.raw_text,
        )

    def _verdict(self, call: CallRead, ended_early: bool) -> tuple[ToolCallVerdict, str | None]:
        if call.cut and ended_early:
            return ToolCallVerdict.TRUNCATED, "The answer ended before the call did."
        if call.arguments_json is None:
            return ToolCallVerdict.MALFORMED, call.problem
        if call.name not in self._schemas:
            return ToolCallVerdict.UNKNOWN_TOOL, f"There is no tool {call.name} in the request."
        if problem := _misfit(self._schemas[call.name], call.arguments_json):
            return ToolCallVerdict.SCHEMA_VIOLATION, problem
        return ToolCallVerdict.COMPLETE, None


def _misfit(schema: dict[str, Any], arguments_json: str) -> str | None:
    """What is wrong with arguments, as a sentence; None when they fit."""
    try:
        return misfit(schema, json.loads(arguments_json), JUDGE_S)
    except RecursionError:
        return "The arguments are nested too deeply to be checked."
    except TooSlow:
        return "The arguments could not be checked in time."
