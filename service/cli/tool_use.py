"""How a chat uses tools: the options, and what they stand for."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any

import rich_click as click

from service.api.tools import NamedToolChoice, ToolChoice, ToolConfig
from service.cli.connection import FILE
from service.cli.tool_files import Tools, read_tools

Command = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class ToolUse:
    """The tools of a chat, how freely the model uses them, and how often it may before it has to answer."""

    tools: Tools = field(default_factory=Tools)
    choice: str | None = None
    approve: bool = False
    rounds: int = 1

    def config(self, *, first: bool) -> ToolConfig | None:
        """A choice that demands a call holds for the first answer only, or there would never be a last one."""
        match self.choice:
            case None:
                return None
            case ToolChoice.NONE:
                return ToolConfig(tool_choice=ToolChoice.NONE)
            case ToolChoice.REQUIRED if first:
                return ToolConfig(tool_choice=ToolChoice.REQUIRED)
            case name if first and name != ToolChoice.AUTO:
                return ToolConfig(tool_choice=NamedToolChoice(tool_name=name))
            case _:
                return ToolConfig(tool_choice=ToolChoice.AUTO)


def tool_options(command: Command) -> Command:
    """Adds the options about tools, and passes them on as `tool_use`."""

    @click.option("--tools", "file", type=FILE, metavar="FILE", help="Tools to call, as JSON or YAML.")
    @click.option(
        "--tool-choice",
        metavar="CHOICE",
        help="auto, required, none, or the name of the tool to call. [default: auto]",
    )
    @click.option("--approve", is_flag=True, help="Ask before a tool's command runs.")
    @click.option(
        "--tool-rounds",
        type=click.IntRange(1),
        default=10,
        show_default=True,
        help="The most answers of the model to one question.",
    )
    @wraps(command)
    def with_tools(
        *args: Any, file: Path | None, tool_choice: str | None, approve: bool, tool_rounds: int, **rest: Any
    ) -> Any:
        if tool_choice and not file:
            raise click.UsageError("--tool-choice is of use only with --tools.")
        if approve and not sys.stdin.isatty():
            raise click.UsageError("--approve needs a terminal, for somebody to be asked.")
        tools = read_tools(file) if file else Tools()
        return command(*args, tool_use=ToolUse(tools, tool_choice, approve, tool_rounds), **rest)

    return with_tools
