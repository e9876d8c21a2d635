"""Built-in tools, which Llama models call in a way of their own, whatever the dialect of the other tools.

`brave_search.call(query="...")` for three of them; the fourth one, code_interpreter, is called by a tag in front of
Python that runs to the end of the answer.
"""

import json
from collections.abc import Callable, Collection, Iterable, Sequence

import regex

from service.api.tools import BuiltinTool, ToolCall
from service.tool_formats.constraining import Format, sequence
from service.tool_formats.reading import PYTHON_TAG, CallBegun, CallRead, Piece, Pieces, Reader, Text
from service.tool_formats.tools import BUILTIN_ARGUMENT, Tool

QUERY_TOOLS = [tool for tool in BuiltinTool if tool is not BuiltinTool.CODE_INTERPRETER]
HEADER = "Environment: ipython\n"
# Escapes as JSON has them, so that what was written can be read back.
QUOTED_FORMAT = r'"([^"\\\x00-\x1f]|\\["\\nrt])*"'
OPENING = regex.compile(rf"({'|'.join(QUERY_TOOLS)})\.call\(query=\"")


def header(tools: Iterable[Tool]) -> str:
    """The first lines of the system message; only built-in tools are named there."""
    names = [tool.name for tool in tools if tool.builtin and tool.name is not BuiltinTool.CODE_INTERPRETER]
    return HEADER + (f"Tools: {', '.join(names)}" if names else "")


def write(call: ToolCall) -> str:
    """A call of the history as the model wrote it. Raises KeyError when its argument is missing."""
    tool = BuiltinTool(call.tool_name or "")
    argument = json.loads(call.arguments_json or "{}")[BUILTIN_ARGUMENT[tool]]
    if tool is BuiltinTool.CODE_INTERPRETER:
        return str(argument)
    return f"{tool}.call(query={json.dumps(argument, ensure_ascii=False)})"


def enforced(tools: Sequence[Tool]) -> list[Format]:
    """A format for each tool."""
    return [_enforced(tool) for tool in tools]


def _enforced(tool: Tool) -> Format:
    if tool.name is BuiltinTool.CODE_INTERPRETER:
        return sequence([PYTHON_TAG, {"type": "any_text"}])
    return sequence([f"{tool.name}.call(query=", {"type": "regex", "pattern": QUOTED_FORMAT}, ")"])


class BuiltinReader:
    """See reading.Reader. Calls of built-in tools stand at the beginning or behind the tag.

    `others` reads everything else. `names` are the built-in tools of the request; calls of other ones stay text.
    """

    def __init__(self, names: Collection[str], others: Callable[[], Reader]) -> None:
        self._names = frozenset(names)
        self._new_reader = others
        self._others = others()
        self._others_in_call = False
        self._pieces = Pieces()
        self._take: Callable[[str], None] = self._deciding
        self._held = ""
        self._tagged = False
        self._name = ""
        self._raw: list[str] = []
        self._escaped = False

    def feed(self, text: str) -> list[Piece]:
        for char in text:
            self._take(char)
        return self._pieces.take()

    def close(self) -> list[Piece]:
        if self._take == self._call_or_code and self._others.close():
            self._begin(BuiltinTool.CODE_INTERPRETER, self._held)
            self._end_of_code()
        elif self._take == self._in_code:
            self._end_of_code()
        elif self._take in (self._in_query, self._behind_query):
            raw = "".join(self._raw)
            self._pieces.add(CallRead(raw, self._name, None, "The call is not finished.", cut=True))
        else:
            self._pass_on(self._held)
            self._add(self._others.close())
        return self._pieces.take()

    def _deciding(self, char: str) -> None:
        """At the beginning, or behind the tag: a built-in tool, a call of another dialect, code, or text?"""
        self._held += char
        candidate = self._held.lstrip()
        if candidate == PYTHON_TAG and not self._tagged:
            self._behind_tag()
        elif (opening := OPENING.fullmatch(candidate)) and opening[1] in self._names:
            self._begin(opening[1], candidate)
            self._take = self._in_query
        elif not self._may_be_builtin(candidate):
            self._decide_among_others()

    def _may_be_builtin(self, candidate: str) -> bool:
        if not self._tagged and PYTHON_TAG.startswith(candidate):
            return True
        opening = OPENING.fullmatch(candidate, partial=True)
        return bool(opening) and (opening[1] is None or opening[1] in self._names)

    def _decide_among_others(self) -> None:
        held, self._held = self._held, ""
        if self._tagged and BuiltinTool.CODE_INTERPRETER in self._names:
            self._take = self._call_or_code
            for char in held:
                self._take(char)
        else:
            self._take = self._outside
            self._pass_on((PYTHON_TAG if self._tagged else "") + held)

    def _call_or_code(self, char: str) -> None:
        """Behind the tag: whatever the other dialect doesn't take for the beginning of a call is code."""
        self._held += char
        found = self._others.feed(char)
        if any(isinstance(piece, CallBegun) for piece in found):
            self._held = ""
            self._take = self._outside
            self._add(found)
        elif any(isinstance(piece, Text) for piece in found):
            code, self._held = self._held, ""
            self._begin(BuiltinTool.CODE_INTERPRETER, code)
            self._take = self._in_code

    def _outside(self, char: str) -> None:
        """Text, or calls of the other dialect."""
        self._held += char
        if self._others_in_call or not PYTHON_TAG.startswith(self._held):
            held, self._held = self._held, ""
            self._pass_on(held)
        elif self._held == PYTHON_TAG:
            self._behind_tag()

    def _behind_tag(self) -> None:
        self._add(self._others.close())
        self._others = self._new_reader()
        self._held = ""
        self._tagged = True
        self._take = self._deciding

    def _pass_on(self, text: str) -> None:
        if text:
            self._add(self._others.feed(text))

    def _add(self, pieces: Iterable[Piece]) -> None:
        for piece in pieces:
            self._pieces.add(piece)
            self._others_in_call = not isinstance(piece, CallRead | Text)

    def _begin(self, name: str, written: str) -> None:
        self._name = name
        self._held = ""
        self._raw = [written]
        self._escaped = False
        self._pieces.add(CallBegun())
        self._pieces.fragment(written)

    def _write(self, char: str) -> None:
        self._raw.append(char)
        self._pieces.fragment(char)

    def _in_code(self, char: str) -> None:
        self._write(char)

    def _end_of_code(self) -> None:
        code = "".join(self._raw)
        arguments = json.dumps({BUILTIN_ARGUMENT[BuiltinTool.CODE_INTERPRETER]: code}, ensure_ascii=False)
        self._pieces.add(CallRead(code, self._name, arguments, cut=True))

    def _in_query(self, char: str) -> None:
        self._write(char)
        if self._escaped:
            self._escaped = False
        elif char == "\\":
            self._escaped = True
        elif char == '"':
            self._take = self._behind_query

    def _behind_query(self, char: str) -> None:
        if char == ")":
            self._write(char)
            self._finish()
        elif char.isspace():
            self._write(char)
        else:
            problem = "A closing parenthesis is missing."
            self._pieces.add(CallRead("".join(self._raw), self._name, None, problem))
            self._take = self._outside
            self._take(char)

    def _finish(self) -> None:
        raw = "".join(self._raw)
        quoted = raw[raw.index('"') : raw.rindex('"') + 1]
        query = _unquoted(quoted)
        arguments = json.dumps({BUILTIN_ARGUMENT[BuiltinTool(self._name)]: query}, ensure_ascii=False)
        self._pieces.add(CallRead(raw, self._name, arguments))
        self._take = self._outside


def _unquoted(quoted: str) -> str:
    """The text of a JSON string, or what stands between the quotes where it isn't one."""
    try:
        return str(json.loads(quoted, strict=False))
    except ValueError:
        return quoted[1:-1]
