"""Built-in tools, which Llama models call in a way of their own, whatever the dialect of the other tools.

`brave_search.call(query="...")` for three of them; the fourth one, code_interpreter, is called by a tag in front of
Python that runs to the end of the answer.
"""

import json
from collections.abc import Callable, Collection, Iterable, Sequence

import regex

from service.api.tools import BuiltinTool, ToolCall
from service.tool_formats.arguments import json_text
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
        return sequence([PYTHON_TAG, {"type": "regex", "pattern": r"\S"}, {"type": "any_text"}])
    return sequence([f"{tool.name}.call(query=", {"type": "regex", "pattern": QUOTED_FORMAT}, ")"])


class BuiltinReader:
    """See reading.Reader. Calls of built-in tools stand at the beginning, behind the tag, or behind another call.

    `others` reads everything else. `names` are the built-in tools of the request; calls of other ones stay text.
    """

    def __init__(self, names: Collection[str], others: Callable[[], Reader]) -> None:
        self._names = frozenset(names)
        self._new_reader = others
        self._others = others()
        self._others_in_call = False
        self._behind_call = False
        self._pieces = Pieces()
        self._take: Callable[[str], None] = self._deciding
        self._held = ""  # what may become the tag, or open a call
        self._passed: list[str] = []  # blanks in front of it, or what may turn out to be code
        self._tagged = False
        self._name = ""
        self._raw: list[str] = []
        self._escaped = False

    def feed(self, text: str) -> list[Piece]:
        for char in text:
            self._take(char)
        return self._pieces.take()

    def close(self) -> list[Piece]:
        if self._take == self._deciding and self._held:
            self._decide_among_others()
        if self._take == self._call_or_code and self._others.close():
            self._begin(BuiltinTool.CODE_INTERPRETER, "".join(self._passed))
            self._end_of_code()
        elif self._take == self._in_code:
            self._end_of_code()
        elif self._take in (self._in_query, self._behind_query):
            raw = "".join(self._raw)
            self._pieces.add(CallRead(raw, self._name, None, "The call is not finished.", cut=True))
        else:
            self._pass_on("".join(self._passed) + self._held)
            self._add(self._others.close())
        return self._pieces.take()

    def _deciding(self, char: str) -> None:
        """At the beginning, or behind the tag: a built-in tool, a call of another dialect, code, or text?"""
        if not self._held and char.isspace():
            self._passed.append(char)
            return
        self._held += char
        if self._held == PYTHON_TAG and not self._tagged:
            self._behind_tag()
        elif name := self._opened():
            self._begin(name, self._held)
            self._take = self._in_query
        elif not self._may_be_builtin() and (self._tagged or not PYTHON_TAG.startswith(self._held)):
            self._decide_among_others()

    def _opened(self) -> str | None:
        """The tool whose call begins with what is held."""
        opening = OPENING.fullmatch(self._held)
        return opening[1] if opening and opening[1] in self._names else None

    def _may_be_builtin(self) -> bool:
        opening = OPENING.fullmatch(self._held, partial=True)
        return bool(opening) and (opening[1] is None or opening[1] in self._names)

    def _decide_among_others(self) -> None:
        text = "".join(self._passed) + self._held
        self._held, self._passed = "", []
        if self._tagged and BuiltinTool.CODE_INTERPRETER in self._names:
            self._take = self._call_or_code
            for char in text:
                self._take(char)
        else:
            self._take = self._outside
            self._pass_on((PYTHON_TAG if self._tagged else "") + text)

    def _call_or_code(self, char: str) -> None:
        """Behind the tag: whatever the other dialect doesn't take for the beginning of a call is code."""
        self._passed.append(char)
        found = self._others.feed(char)
        if any(isinstance(piece, CallBegun) for piece in found):
            self._passed = []
            self._tagged = False
            self._take = self._outside
            self._add(found)
        elif any(isinstance(piece, Text) for piece in found):
            self._begin(BuiltinTool.CODE_INTERPRETER, "".join(self._passed))
            self._take = self._in_code

    def _outside(self, char: str) -> None:
        """Text, or calls of the other dialect."""
        self._held += char
        while self._held and (self._others_in_call or not self._may_be_ours()):
            first, self._held = self._held[0], self._held[1:]
            self._pass_on(first)
        if self._held == PYTHON_TAG:
            self._behind_tag()
        elif self._behind_call and (name := self._opened()):
            self._leave_others()
            self._begin(name, self._held)
            self._take = self._in_query

    def _may_be_ours(self) -> bool:
        return PYTHON_TAG.startswith(self._held) or (self._behind_call and self._may_be_builtin())

    def _behind_tag(self) -> None:
        self._leave_others()
        self._held, self._passed = "", []
        self._tagged = True
        self._take = self._deciding

    def _leave_others(self) -> None:
        self._add(self._others.close())
        self._others = self._new_reader()

    def _pass_on(self, text: str) -> None:
        if text:
            self._add(self._others.feed(text))

    def _add(self, pieces: Iterable[Piece]) -> None:
        for piece in pieces:
            self._others_in_call = not isinstance(piece, CallRead | Text)
            if isinstance(piece, Text):
                self._add_text(piece.text)
            else:
                self._pieces.add(piece)
                self._behind_call = isinstance(piece, CallRead)
                self._tagged = False

    def _add_text(self, text: str) -> None:
        """Without the tag, which the other reader only got to know what follows it."""
        if self._tagged:
            text = text.removeprefix(PYTHON_TAG)
            self._tagged = False
        self._behind_call &= not text or text.isspace()
        self._pieces.text(text)

    def _begin(self, name: str, written: str) -> None:
        self._name = name
        self._held, self._passed = "", []
        self._tagged = False
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
            self._end_of_query(CallRead("".join(self._raw), self._name, None, problem))
            self._take(char)

    def _finish(self) -> None:
        raw = "".join(self._raw)
        quoted = raw[raw.index('"') : raw.rindex('"') + 1]
        arguments = {BUILTIN_ARGUMENT[BuiltinTool(self._name)]: _unquoted(quoted)}
        self._end_of_query(CallRead(raw, self._name, json_text(arguments)))

    def _end_of_query(self, call: CallRead) -> None:
        self._pieces.add(call)
        self._behind_call = True
        self._take = self._outside


def _unquoted(quoted: str) -> str:
    """The text of a JSON string, or what stands between the quotes where it isn't one."""
    try:
        return str(json.loads(quoted, strict=False))
    except ValueError:
        return quoted[1:-1]
