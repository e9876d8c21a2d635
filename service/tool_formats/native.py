"""The model's own dialect: its chat template describes the tools and writes the calls of the history.

How calls look is told by the template too. Two families are read here, both of which are JSON objects: those in tags
(Hermes, Qwen) and bare ones (Llama 3). A model whose template writes something else is asked in another dialect.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import regex

from service.tool_formats.constraining import Format, arguments_format, dispatch, one_of, sequence, tag, tags
from service.tool_formats.json_object import JsonObjectReader
from service.tool_formats.reading import PYTHON_TAG
from service.tool_formats.tools import Tool

TAGGED = "<tool_call>"
# Templates in which calls stand in tags, but are no JSON objects.
OTHER_SYNTAX = regex.compile(r"<function=|<parameter=|<arg_key>|<\|tool_sep\|>")


@dataclass(frozen=True, slots=True)
class NativeDialect:
    """Calls as the template writes them: `opening` and `closing` around an object with `arguments_key`."""

    opening: str
    closing: str
    arguments_key: str

    @classmethod
    def of_template(cls, template: str) -> "NativeDialect | None":
        """The dialect of a chat template that knows tools; None where its calls can't be read."""
        if TAGGED in template and not OTHER_SYNTAX.search(template):
            return cls(f"{TAGGED}\n", "\n</tool_call>", "arguments")
        if PYTHON_TAG in template and '"parameters": ' in template:
            return cls("", "", "parameters")
        return None

    def enforced(self, tools: Sequence[Tool], several: bool) -> Format:
        """Calls and nothing else."""
        calls = [
            tag(self.opening + self._beginning(tool), arguments_format(tool), "}" + self.closing) for tool in tools
        ]
        return tags(calls, "\n" if self.closing else "", several)

    def once_begun(self, tools: Sequence[Tool], several: bool) -> Format:
        """Free text, in which what begins like a call becomes one."""
        if not self.opening:
            return dispatch({self._beginning(tool): [arguments_format(tool), "}"] for tool in tools}, several)
        calls = [sequence([self._beginning(tool), arguments_format(tool), "}" + self.closing]) for tool in tools]
        return dispatch({self.opening: [one_of(calls)]}, several)

    def reader(self, names: Collection[str]) -> JsonObjectReader:
        return JsonObjectReader(names)

    def _beginning(self, tool: Tool) -> str:
        return f'{{"name": {json.dumps(tool.name)}, "{self.arguments_key}": '


def described(tool: Tool) -> dict[str, Any]:
    """A tool as chat templates expect it."""
    function = {"name": tool.name, "description": tool.description, "parameters": tool.schema}
    return {"type": "function", "function": function}
