"""The dialect `<function=name>{"argument": "value"}</function>`.

outside --"<function="--> name --">"--> before the arguments --"{"--> in them --"}"--> behind them
   ^                                                                                     |
   +----------------------------------- "</function>" or other text --------------------+
"""

import json
from collections.abc import Callable, Collection, Sequence
from typing import Any

import regex
from jinja2.utils import htmlsafe_json_dumps

from service.api.tools import ToolCall
from service.tool_formats.arguments import JsonEnd, UnreadableArguments, read_arguments
from service.tool_formats.constraining import Format, arguments_format, dispatch, one_of, sequence, tag, tags
from service.tool_formats.describing import escaped
from service.tool_formats.reading import PYTHON_TAG, CallBegun, CallRead, Piece, Pieces
from service.tool_formats.tools import Tool

OPEN = "<function="
CLOSE = "</function>"
MAX_HELD = 64
BEGINNING = regex.compile(rf"(?:{regex.escape(PYTHON_TAG)}\s*)?{regex.escape(OPEN)}")
NAME = regex.compile(r"[A-Za-z0-9_.-]{1,64}")


PROMPT = """\
You have access to the following functions:

{functions}Think very carefully before calling functions.
If you choose to call a function ONLY reply in the following format with no prefix or suffix:

<function=example_function_name>{{"example_name": "example_value"}}</function>

Reminder:
- If looking for real time information use relevant functions before falling back to brave_search
- Function calls MUST follow the specified format, start with <function= and end with </function>
- Required parameters MUST be specified
- Only call one function at a time
- Put the entire function call reply on one line"""
FUNCTION = """\
Use the function '{name}' to '{plain_description}':
{{"name": "{name}", "description": "{description}", "parameters": {parameters}}}

"""


def describe(tools: Sequence[Tool]) -> str:
    """What Llama 3.1 models are told about tools, in a message of its own."""
    return PROMPT.format(functions="".join(map(_describe, tools)))


def _describe(tool: Tool) -> str:
    return FUNCTION.format(
        name=tool.name,
        plain_description=tool.description,
        description=escaped(tool.description),
        parameters=_describe_parameters(tool),
    )


def _describe_parameters(tool: Tool) -> str:
    """On one line. Flat ones with sorted keys and quotes as escapes: so the models have learned it."""
    if tool.parameters is None:
        return json.dumps(tool.schema, ensure_ascii=False)
    described: dict[str, dict[str, Any]] = {
        parameter.name: {
            "param_type": parameter.param_type,
            "description": parameter.description,
            "required": parameter.required is not False,
        }
        for parameter in tool.parameters
    }
    return str(htmlsafe_json_dumps(described, sort_keys=True))


def write(calls: Sequence[ToolCall]) -> str:
    """Calls of the history as the model wrote them; the arguments stay as they are, byte for byte."""
    return "".join(f"{OPEN}{call.tool_name}>{call.arguments_json or '{}'}{CLOSE}" for call in calls)


def enforced(tools: Sequence[Tool], several: bool) -> Format:
    """Calls and nothing else."""
    return tags([tag(f"{OPEN}{tool.name}>", arguments_format(tool), CLOSE) for tool in tools], "", several)


def once_begun(tools: Sequence[Tool], several: bool) -> Format:
    """Free text, in which what begins like a call becomes one, of a tool that exists."""
    return dispatch(
        {OPEN: [one_of([sequence([f"{tool.name}>", arguments_format(tool), CLOSE]) for tool in tools])]}, several
    )


def reader(names: Collection[str]) -> "FunctionTagReader":
    """Any name makes a call here: the tag alone says so."""
    return FunctionTagReader()


class FunctionTagReader:
    """See reading.Reader."""

    def __init__(self) -> None:
        self._pieces = Pieces()
        self._take: Callable[[str], None] = self._outside
        self._held = ""  # outside: what may begin a call; behind the arguments: what may close it
        self._name = ""
        self._arguments: list[str] = []
        self._tail = ""
        self._end = JsonEnd()

    def feed(self, text: str) -> list[Piece]:
        for char in text:
            self._take(char)
        return self._pieces.take()

    def close(self) -> list[Piece]:
        if self._take == self._outside:
            self._pieces.text(self._held)
        elif self._take == self._in_name:
            self._pieces.text(self._held + self._name)
        elif self._take == self._behind_arguments:
            self._finish("")
        else:
            raw = f"{OPEN}{self._name}>{''.join(self._arguments)}"
            self._pieces.add(CallRead(raw, self._name, None, "The call is not finished.", cut=True))
        return self._pieces.take()

    def _outside(self, char: str) -> None:
        self._held += char
        while self._held and not (len(self._held) <= MAX_HELD and BEGINNING.fullmatch(self._held, partial=True)):
            self._pieces.text(self._held[0])
            self._held = self._held[1:]
        if self._held.endswith(OPEN):
            self._name = ""
            self._take = self._in_name

    def _in_name(self, char: str) -> None:
        if char == ">" and NAME.fullmatch(self._name):
            self._begin()
        elif NAME.fullmatch(self._name + char):
            self._name += char
        else:
            self._pieces.text(self._held + self._name)
            self._held = ""
            self._take = self._outside
            self._outside(char)

    def _begin(self) -> None:
        self._arguments = []
        self._end = JsonEnd()
        self._take = self._before_arguments
        self._pieces.add(CallBegun())
        self._pieces.fragment(f"{OPEN}{self._name}>")

    def _before_arguments(self, char: str) -> None:
        """White space and the opening brace; anything else runs up to the closing tag and can't be read."""
        if char.isspace():
            self._write(char)
        elif char == "{":
            self._take = self._in_arguments
            self._take(char)
        else:
            self._tail = ""
            self._take = self._in_nonsense
            self._take(char)

    def _in_arguments(self, char: str) -> None:
        self._write(char)
        if self._end.take(char):
            self._held = ""
            self._take = self._behind_arguments

    def _in_nonsense(self, char: str) -> None:
        self._write(char)
        self._tail = (self._tail + char)[-len(CLOSE) :]
        if self._tail == CLOSE:
            text = "".join(self._arguments)
            self._arguments = [text.removesuffix(CLOSE)]
            self._finish(CLOSE)

    def _behind_arguments(self, char: str) -> None:
        """The closing tag, which models sometimes forget."""
        self._held += char
        if self._held.lstrip() == CLOSE:
            self._pieces.fragment(self._held)
            self._finish(self._held)
        elif not CLOSE.startswith(self._held.lstrip()) or len(self._held) > MAX_HELD:
            held = self._held
            self._finish("")
            for char in held:
                self._take(char)

    def _write(self, char: str) -> None:
        self._arguments.append(char)
        self._pieces.fragment(char)

    def _finish(self, closing: str) -> None:
        arguments = "".join(self._arguments)
        raw = f"{OPEN}{self._name}>{arguments}{closing}"
        try:
            found = read_arguments(arguments) if arguments.strip() else "{}"
        except UnreadableArguments as problem:
            self._pieces.add(CallRead(raw, self._name, None, str(problem)))
        else:
            self._pieces.add(CallRead(raw, self._name, found))
        self._held = ""
        self._take = self._outside
