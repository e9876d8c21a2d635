"""Files of tools: what a model may call in a chat, and the commands that answer.

A JSON or YAML list of tools, or an object that holds it as `tools`. A tool is written as here, or wrapped as OpenAI's
API has it ({"type": "function", "function": {...}}):

    - name: get_weather
      description: The weather of a city
      parameters: {type: object, properties: {city: {type: string}}, required: [city]}
      command: [./weather.sh, --brief]
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import rich_click as click
import yaml
from pydantic import AliasChoices, Field, TypeAdapter, ValidationError

from service.api.base import ApiModel
from service.api.tools import ToolDefinition, ToolInputSchema, ToolName


class ToolEntry(ApiModel):
    """One tool of a file. Without a command a person answers."""

    name: ToolName
    description: str | None = None
    parameters: dict[str, Any] | None = Field(
        None, validation_alias=AliasChoices("parameters", "input_schema", "inputSchema")
    )
    command: tuple[str, ...] = ()

    def definition(self) -> ToolDefinition:
        schema = None if self.parameters is None else json.dumps(self.parameters, ensure_ascii=False)
        return ToolDefinition(
            tool_name=self.name,
            description=self.description,
            input=schema and ToolInputSchema(input_schema_json=schema),
        )


ENTRIES = TypeAdapter(list[ToolEntry])


@dataclass(frozen=True, slots=True)
class Tools:
    """The tools of a chat, and the command of each that has one."""

    definitions: Sequence[ToolDefinition] = ()
    commands: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def command_of(self, tool_name: str) -> Sequence[str]:
        return self.commands.get(tool_name, ())


def read_tools(file: Path) -> Tools:
    """Raises UsageError for what can't be read, naming the place."""
    try:
        entries = ENTRIES.validate_python([_unwrapped(entry) for entry in _listed(_parsed(file))])
        definitions = [entry.definition() for entry in entries]
    except ValidationError as error:
        raise click.UsageError("\n".join(f"{file}: {_sentence(problem)}" for problem in error.errors())) from None
    except (OSError, ValueError, TypeError, yaml.YAMLError) as error:
        raise click.UsageError(f"{file}: {error}") from None
    return Tools(definitions, {str(entry.name): entry.command for entry in entries})


def _parsed(file: Path) -> Any:
    text = file.read_text(encoding="utf-8")
    return json.loads(text) if file.suffix == ".json" else yaml.safe_load(text)


def _listed(content: Any) -> list[Any]:
    tools = content.get("tools") if isinstance(content, dict) else content
    if not isinstance(tools, list):
        raise ValueError("It has to hold a list of tools.")
    return tools


def _unwrapped(entry: Any) -> Any:
    return entry["function"] if isinstance(entry, dict) and "function" in entry else entry


def _sentence(problem: Any) -> str:
    index, *path = problem["loc"]
    return f"[{index}]{''.join(f'.{step}' for step in path)}: {problem['msg']}"
