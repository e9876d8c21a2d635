"""The dialect `{"type": "function", "name": ..., "parameters": {...}}`.

Objects stand alone, one behind the other (nothing, `;`, a comma, a new line between them), in an array, in a code
fence or in tags. Most models vary it: "arguments" for "parameters", the arguments as JSON text, the whole in
`{"function": {...}}`.

    outside --"{"--> deciding --"a call"--> in a call --"}"--> behind a call --"{"--> deciding
       ^                 |                                          |
       +-- "no call" ----+------------ other text ------------------+
"""

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from enum import Enum, auto
from typing import Any

import regex

from service.api.tools import ToolCall, ToolParamDefinition
from service.tool_formats.arguments import JsonEnd, UnreadableArguments, is_text, read_arguments
from service.tool_formats.constraining import Format, arguments_format, dispatch, tag, tags
from service.tool_formats.describing import escaped, indented, required_list
from service.tool_formats.json_walk import JsonWalk, Kind, Passed
from service.tool_formats.reading import PYTHON_TAG, CallBegun, CallRead, Piece, Pieces
from service.tool_formats.tools import Tool

ARGUMENTS = ("parameters", "arguments")
CALL_KEYS = frozenset({"type", "name", "function", "id", "call_id", *ARGUMENTS})
MAX_HELD = 64
OPENING = "|".join(map(regex.escape, (PYTHON_TAG, "<tool_call>", "[TOOL_CALLS]")))
CLOSING = "|".join(map(regex.escape, ("</tool_call>",)))
BEFORE_CALL = regex.compile(rf"(?:(?:{OPENING})\s*|```\w*\s+|\[\s*)+")
BETWEEN_CALLS = regex.compile(rf"(?:[\s;,\[\]]|```\w*|{OPENING}|{CLOSING})*")

PROMPT = """\
Answer the user's question by making use of the following functions if needed.
If none of the function can be used, please say so.
Here is a list of functions in JSON format:
{functions}
Return function calls in JSON format."""
FUNCTION = """\
{{
    "type": "function",
    "function": {{
        "name": "{name}",
        "description": "{description}",
        "parameters": {parameters}
    }}
}}
"""
PARAMETERS = """\
{{
    "type": "object",
    "properties": [{properties}
    ],
    "required": {required}
}}"""
# Every type is "object", and the properties are a list: so the models have learned it.
PROPERTY = """
        {{
            "{name}": {{
                "type": "object",
                "description": "{description}"
            }}
        }}"""


def describe(tools: Sequence[Tool]) -> str:
    """What Llama 3.1 models are told about tools, in a message of its own."""
    return PROMPT.format(functions="".join(map(_describe, tools)))


def _describe(tool: Tool) -> str:
    if tool.parameters is None:
        parameters = json.dumps(tool.schema, indent=4, ensure_ascii=False)
    else:
        properties = ",".join(map(_describe_parameter, tool.parameters))
        parameters = PARAMETERS.format(properties=properties, required=required_list(tool.parameters))
    return FUNCTION.format(
        name=tool.name, description=escaped(tool.description), parameters=indented(parameters, " " * 8)
    )


def _describe_parameter(parameter: ToolParamDefinition) -> str:
    return PROPERTY.format(name=escaped(parameter.name), description=escaped(parameter.description or ""))


def write(calls: Sequence[ToolCall]) -> str:
    """Calls of the history as the model wrote them; the arguments stay as they are, byte for byte."""
    return "".join(f"{_beginning(str(call.tool_name))}{call.arguments_json or '{}'}}}" for call in calls)


def _beginning(name: str) -> str:
    return f'{{"type": "function", {_name_and_key(name)}'


def _name_and_key(name: str) -> str:
    return f'"name": {json.dumps(name)}, "parameters": '


def enforced(tools: Sequence[Tool], several: bool) -> Format:
    """Calls and nothing else."""
    return tags([tag(_beginning(tool.name), arguments_format(tool), "}") for tool in tools], "", several)


def once_begun(tools: Sequence[Tool], several: bool) -> Format:
    """Free text, in which what begins like a call becomes one. Models often leave the type out."""
    return dispatch({_name_and_key(tool.name): [arguments_format(tool), "}"] for tool in tools}, several)


def reader(names: Collection[str]) -> "JsonObjectReader":
    return JsonObjectReader(names)


class JsonObjectReader:
    """See reading.Reader. An object is a call if it names one of `names`, or says itself that it is one."""

    def __init__(self, names: Collection[str]) -> None:
        self._names = frozenset(names)
        self._pieces = Pieces()
        self._take: Callable[[str], None] = self._outside
        self._held = ""
        self._object: list[str] = []
        self._end = JsonEnd()
        self._candidate = Candidate(self._names, tagged=False)

    def feed(self, text: str) -> list[Piece]:
        for char in text:
            self._take(char)
        return self._pieces.take()

    def close(self) -> list[Piece]:
        if self._take == self._in_call:
            raw = "".join(self._object)
            self._pieces.add(CallRead(raw, self._candidate.name, None, "The call is not finished.", cut=True))
        elif self._take != self._behind_call:
            self._pieces.text(self._held + "".join(self._object))
        return self._pieces.take()

    def _outside(self, char: str) -> None:
        if char == "{":
            self._begin_object()
            return
        self._held += char
        while self._held and not _may_be(BEFORE_CALL, self._held):
            self._pieces.text(self._held[0])
            self._held = self._held[1:]

    def _begin_object(self) -> None:
        self._object = []
        self._end = JsonEnd()
        self._candidate = Candidate(self._names, tagged=PYTHON_TAG in self._held)
        self._take = self._deciding
        self._take("{")

    def _deciding(self, char: str) -> None:
        self._object.append(char)
        finished = self._end.take(char)
        match self._candidate.take(char):
            case Decision.CALL:
                self._held = ""
                self._pieces.add(CallBegun())
                self._pieces.fragment("".join(self._object))
                self._take = self._in_call
                if finished:
                    self._finish()
            case Decision.DATA:
                self._release(self._outside if finished else self._in_data)
            case Decision.NONSENSE:
                self._release(self._outside)
            case Decision.OPEN if finished:
                self._release(self._outside)

    def _release(self, state: Callable[[str], None]) -> None:
        self._pieces.text(self._held + "".join(self._object))
        self._held, self._object = "", []
        self._take = state

    def _in_data(self, char: str) -> None:
        """An object that is none of ours passes as a whole: what looks like a call inside of it is data too."""
        self._pieces.text(char)
        if self._end.take(char):
            self._take = self._outside

    def _in_call(self, char: str) -> None:
        self._object.append(char)
        self._pieces.fragment(char)
        if self._end.take(char):
            self._finish()

    def _finish(self) -> None:
        raw = "".join(self._object)
        try:
            self._pieces.add(CallRead(raw, self._candidate.name, _arguments(raw)))
        except UnreadableArguments as problem:
            self._pieces.add(CallRead(raw, self._candidate.name, None, str(problem)))
        self._object = []
        self._take = self._behind_call

    def _behind_call(self, char: str) -> None:
        """What separates calls, or closes an array or a fence, is not shown."""
        if char == "{":
            self._begin_object()
            return
        self._held += char
        if not _may_be(BETWEEN_CALLS, self._held):
            self._leave_calls()

    def _leave_calls(self) -> None:
        """Text follows. White space in front of it belongs to it; what closed an array or a fence doesn't."""
        held, self._held = self._held, ""
        separators = BETWEEN_CALLS.match(held).group()
        self._take = self._outside
        for char in held if separators.isspace() else held[len(separators) :]:
            self._take(char)


class Decision(Enum):
    OPEN = auto()
    CALL = auto()
    DATA = auto()
    """JSON, but no call."""
    NONSENSE = auto()
    """Not even JSON."""


class Candidate:
    """Decides whether an object that is being written is a call, as early as can be."""

    def __init__(self, names: frozenset[str], tagged: bool) -> None:
        self._names = names
        self._marked = tagged
        self._walk = JsonWalk()
        self._key = ""
        self._inside_function = False
        self._has_arguments = False
        self.name: str | None = None

    def take(self, char: str) -> Decision:
        passed = self._walk.take(char)
        if passed is None or passed.depth > (2 if self._inside_function else 1):
            return Decision.NONSENSE if passed and passed.kind is Kind.BAD else Decision.OPEN
        match passed.kind:
            case Kind.BAD:
                return Decision.NONSENSE
            case Kind.KEY:
                return self._take_key(passed)
            case Kind.TEXT:
                return self._take_text(passed)

    def _take_key(self, key: Passed) -> Decision:
        if self._inside_function and key.depth == 1:
            self._inside_function = False
        if key.text not in CALL_KEYS:
            return Decision.DATA
        self._key = key.text
        self._inside_function |= key.text == "function"
        self._has_arguments |= key.text in ARGUMENTS
        return self._decide()

    def _take_text(self, text: Passed) -> Decision:
        if self._key == "name":
            self.name = text.text if is_text(text.text) else None
        elif self._key == "type":
            self._marked |= text.text == "function"
        return self._decide()

    def _decide(self) -> Decision:
        if self.name is None:
            return Decision.OPEN
        if self.name not in self._names and not self._marked:
            return Decision.DATA
        return Decision.CALL if self._has_arguments else Decision.OPEN


def _arguments(raw: str) -> str:
    """The arguments of a whole call, as JSON text of an object: what the model wrote, byte for byte."""
    try:
        members = dict(_members(raw))
        if members.get("function", "").startswith("{"):
            members |= dict(_members(members["function"]))
    except (ValueError, IndexError, RecursionError) as error:
        raise UnreadableArguments(f"The call is not JSON: {error}.") from None
    written = next((members[key] for key in ARGUMENTS if key in members), "{}")
    return read_arguments(json.loads(written, strict=False) if written.startswith('"') else written)


def _members(raw: str) -> Iterator[tuple[str, str]]:
    """The keys of an object, and what is written behind each. Raises ValueError or IndexError for no JSON."""
    decoder = json.JSONDecoder(strict=False)
    place = _behind_space(raw, 1)
    while raw[place] != "}":
        key, place = decoder.raw_decode(raw, place)
        colon = _behind_space(raw, place)
        if not isinstance(key, str) or raw[colon] != ":":
            raise ValueError("a colon is missing")
        start = _behind_space(raw, colon + 1)
        _, place = decoder.raw_decode(raw, start)
        yield key, raw[start:place]
        place = _behind_space(raw, place)
        if raw[place] == ",":
            place = _behind_space(raw, place + 1)


def _behind_space(raw: str, place: int) -> int:
    while raw[place].isspace():
        place += 1
    return place


def _may_be(pattern: Any, held: str) -> bool:
    """Whether a text is what the pattern describes, or may become it."""
    return len(held) <= MAX_HELD and pattern.fullmatch(held, partial=True) is not None
