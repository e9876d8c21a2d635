"""What a tool says to a call that a model made: the output of its command, or what a person types."""

import json
import subprocess
from collections.abc import Callable, Sequence
from typing import Any

import rich_click as click

from service.api.messages import ToolResponseMessage
from service.api.tools import ToolCall
from service.cli.tool_files import Tools

PATIENCE_S = 60.0
LONGEST_SHOWN = 500
REFUSED = "error: the user doesn't allow this call"


class NobodyAnswers(Exception):
    """A call has no command, and no person is there to ask."""

    def __init__(self, calls: Sequence[ToolCall]) -> None:
        super().__init__()
        self.calls = calls


class ToolAnswers:
    """Answers calls, one after the other."""

    def __init__(self, tools: Tools, *, person: Callable[[str], str] | None, approve: bool) -> None:
        """`person` is asked with a prompt; None where nobody is there. With `approve` also before a command runs."""
        self._tools = tools
        self._person = person
        self._approve = approve

    def answer(self, calls: Sequence[ToolCall]) -> list[ToolResponseMessage]:
        """Raises NobodyAnswers before anything has run."""
        if not self._person and not all(self._tools.command_of(str(call.tool_name)) for call in calls):
            raise NobodyAnswers(calls)
        return [
            ToolResponseMessage(call_id=call.call_id, tool_name=call.tool_name, content=self._said(call))
            for call in calls
        ]

    def _said(self, call: ToolCall) -> str:
        command = self._tools.command_of(str(call.tool_name))
        if not command:
            assert self._person
            return self._person(f"what does {call.tool_name} say? ")
        if self._approve and not click.confirm(f"  run {' '.join(command)}?", err=True):
            return REFUSED
        said = run(command, call.arguments_json)
        click.secho(f"  {shortened(said)}", dim=True, err=True)
        return said


def run(command: Sequence[str], arguments_json: str) -> str:
    """The output of a command that reads the arguments from its standard input; a failure is for the model to read."""
    try:
        done = subprocess.run(
            command, input=arguments_json, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
    except OSError as error:
        return f"error: {error.strerror}: {command[0]}"
    except subprocess.TimeoutExpired:
        return f"error: no answer within {PATIENCE_S:g} s"
    said = done.stdout.strip()
    return f"error: exit code {done.returncode}: {done.stderr.strip() or said}" if done.returncode else said


def shortened(text: str) -> str:
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]} … ({len(text):,} characters)"


def call_as_json(call: ToolCall) -> str:
    """For a program that answers in place of a person."""
    shown: dict[str, Any] = {
        "call_id": call.call_id,
        "tool_name": call.tool_name,
        "arguments": json.loads(call.arguments_json or "{}"),
        "verdict": call.verdict,
    }
    return json.dumps(shown, ensure_ascii=False)
