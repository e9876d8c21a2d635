"""The dialects by their names in the contract."""

from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import groupby
from typing import Protocol

from service.api.tools import BuiltinTool, ToolCall, ToolPromptFormat
from service.tool_formats import builtin, function_tag, json_object, python_list
from service.tool_formats.constraining import Format
from service.tool_formats.reading import Reader
from service.tool_formats.tools import Tool


class Dialect(Protocol):
    """How calls are constrained and read. Each module or class of this room that is one says more."""

    @property
    def enforced(self) -> Callable[[Sequence[Tool], bool], Format]:
        """The format of an answer that is one call, or with True several calls."""
        ...

    @property
    def once_begun(self) -> Callable[[Sequence[Tool], bool], Format]:
        """The format of an answer that may call."""
        ...

    @property
    def reader(self) -> Callable[[Collection[str]], Reader]:
        """A reader of calls of tools with these names."""
        ...


class PromptedDialect(Dialect, Protocol):
    """A dialect that the prompt teaches."""

    @property
    def describe(self) -> Callable[[Sequence[Tool]], str]:
        """What the model is told about tools."""
        ...

    @property
    def write(self) -> Callable[[Sequence[ToolCall]], str]:
        """Calls of the history."""
        ...


PROMPTED: dict[ToolPromptFormat, PromptedDialect] = {
    ToolPromptFormat.JSON: json_object,
    ToolPromptFormat.FUNCTION_TAG: function_tag,
    ToolPromptFormat.PYTHON_LIST: python_list,
}


def write_calls(dialect: PromptedDialect, calls: Sequence[ToolCall]) -> str:
    """Calls of the history, those of built-in tools in their own way."""
    return "".join(_written(dialect, calls))


def _written(dialect: PromptedDialect, calls: Sequence[ToolCall]) -> Iterator[str]:
    for is_builtin, group in groupby(calls, lambda call: isinstance(call.tool_name, BuiltinTool)):
        if is_builtin:
            yield from map(builtin.write, group)
        else:
            yield dialect.write(list(group))
