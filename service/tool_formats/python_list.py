"""The dialect `[name(argument="value"), other()]`.

outside --"[name("--> in the arguments --")"--> behind a call --","--> in a name --"("--> in the arguments
   ^                                                |
   +----------------------- "]" --------------------+
"""

import ast
import json
import warnings
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import Any

import regex

from service.api.tools import ToolCall, ToolParamDefinition
from service.tool_formats.arguments import UnreadableArguments, json_text
from service.tool_formats.constraining import Format
from service.tool_formats.describing import escaped, indented, required_list
from service.tool_formats.python_grammar import list_of_calls, text_with_lists_of_calls, written_name
from service.tool_formats.reading import PYTHON_TAG, CallBegun, CallRead, Piece, Pieces
from service.tool_formats.tools import Tool

NAME = r"[A-Za-z0-9_.-]{1,64}"
OPENING = regex.compile(rf"(?:{regex.escape(PYTHON_TAG)}\s*)?\[\s*({NAME})\s*\(")
NEXT = regex.compile(rf"\s*,\s*({NAME})\s*\(")
END_AFTER_COMMA = regex.compile(r"\s*,\s*\]")
MAX_HELD = 160
MAX_PROBLEM = 300
ARGUMENT = regex.compile(r"""\s*([^\W\d][\w.-]*|"(?:[^"\\]|\\.)*")\s*=(.*)""", regex.DOTALL)
NAMED_VALUES = {"true": True, "false": False, "null": None}
CLOSING = {"(": ")", "[": "]", "{": "}"}

PREAMBLE = """\
You are an expert in composing functions. You are given a question and a set of possible functions.
Based on the question, you will need to make one or more function/tool calls to achieve the purpose.
If none of the function can be used, point it out. If the given question lacks the parameters required by the function,
also point it out. You should only return the function call in tools call sections.

"""
PROMPT = """\
If you decide to invoke any of the function(s), you MUST put it in the format of \
[func_name1(params_name1=params_value1, params_name2=params_value2...), func_name2(params)]
You SHOULD NOT include any other text in the response.

Here is a list of functions in JSON format that you can invoke.

[
    {functions}
]"""
FUNCTION = """\
{{
    "name": "{name}",
    "description": "{description}",
    "parameters": {parameters}
}}"""
PARAMETERS = """\
{{
    "type": "dict",
    "required": {required},
    "properties": {{{properties}
    }}
}}"""
PROPERTY = """
        "{name}": {{
            "type": "{param_type}",
            "description": "{description}"{default}
        }}"""
DEFAULT = """,
            "default": "{default}\""""


def describe(tools: Sequence[Tool]) -> str:
    """What Llama 3.2 models are told about tools, in the system message, behind the preamble."""
    functions = ",\n    ".join(indented(_describe(tool), " " * 4) for tool in tools)
    return PROMPT.format(functions=functions)


def _describe(tool: Tool) -> str:
    if tool.parameters is None:
        parameters = json.dumps(tool.schema, indent=4, ensure_ascii=False)
    else:
        properties = ",".join(map(_describe_parameter, tool.parameters))
        parameters = PARAMETERS.format(properties=properties, required=required_list(tool.parameters))
    return FUNCTION.format(
        name=tool.name, description=escaped(tool.description), parameters=indented(parameters, " " * 4)
    )


def _describe_parameter(parameter: ToolParamDefinition) -> str:
    given = parameter.default_json
    return PROPERTY.format(
        name=escaped(parameter.name),
        param_type=escaped(parameter.param_type),
        description=escaped(parameter.description or ""),
        default="" if given is None else DEFAULT.format(default=escaped(str(json.loads(given)))),
    )


def write(calls: Sequence[ToolCall]) -> str:
    """Calls of the history as the model wrote them. Values are Python literals, so that nothing is lost."""
    return "[" + ", ".join(f"{call.tool_name}({_write_arguments(call.arguments_json)})" for call in calls) + "]"


def _write_arguments(arguments_json: str) -> str:
    arguments: dict[str, Any] = json.loads(arguments_json or "{}")
    return ", ".join(f"{written_name(name)}={_written(value)}" for name, value in arguments.items())


def _written(value: Any) -> str:
    match value:
        case str():
            return json.dumps(value, ensure_ascii=False)
        case list():
            return f"[{', '.join(map(_written, value))}]"
        case dict():
            return "{" + ", ".join(f"{_written(key)}: {_written(item)}" for key, item in value.items()) + "}"
        case _:
            return repr(value)


def enforced(tools: Sequence[Tool], several: bool) -> Format:
    """Calls and nothing else."""
    return {"type": "grammar", "grammar": list_of_calls(tools, several)}


def once_begun(tools: Sequence[Tool], several: bool) -> Format:
    """Free text, in which what begins like a list of calls becomes one."""
    return {"type": "grammar", "grammar": text_with_lists_of_calls(tools, several)}


def reader(names: Collection[str]) -> "PythonListReader":
    return PythonListReader(names)


class PythonListReader:
    """See reading.Reader. Only a list that begins with a call of one of `names` is one."""

    def __init__(self, names: Collection[str]) -> None:
        self._names = frozenset(names)
        self._pieces = Pieces()
        self._take: Callable[[str], None] = self._outside
        self._held = ""
        self._name = ""
        self._raw: list[str] = []
        self._arguments: list[list[str]] = []
        self._end = PythonEnd()

    def feed(self, text: str) -> list[Piece]:
        for char in text:
            self._take(char)
        return self._pieces.take()

    def close(self) -> list[Piece]:
        if self._take == self._in_arguments:
            self._pieces.add(CallRead("".join(self._raw), self._name, None, "The call is not finished.", cut=True))
        else:
            self._pieces.text(self._held)
        return self._pieces.take()

    def _outside(self, char: str) -> None:
        self._held += char
        while self._held and not _may_be(OPENING, self._held):
            self._release(1)
        if opening := OPENING.fullmatch(self._held):
            if opening[1] in self._names:
                self._begin(opening[1])
            else:
                self._release(len(self._held))

    def _release(self, count: int) -> None:
        self._pieces.text(self._held[:count])
        self._held = self._held[count:]

    def _begin(self, name: str) -> None:
        self._name = name
        self._held = ""
        self._raw = [f"{name}("]
        self._arguments = [[]]
        self._end = PythonEnd()
        self._take = self._in_arguments
        self._pieces.add(CallBegun())
        self._pieces.fragment(self._raw[0])

    def _in_arguments(self, char: str) -> None:
        self._raw.append(char)
        self._pieces.fragment(char)
        finished = self._end.take(char)
        if char == "," and self._end.between_arguments:
            self._arguments.append([])
        elif not finished:
            self._arguments[-1].append(char)
        if finished:
            self._pieces.add(self._call())
            self._take = self._behind_call

    def _call(self) -> CallRead:
        raw = "".join(self._raw)
        try:
            return CallRead(raw, self._name, _read_arguments(self._given_arguments()))
        except UnreadableArguments as problem:
            return CallRead(raw, self._name, None, str(problem))

    def _given_arguments(self) -> list[str]:
        """The text of each argument; behind a last comma there is none."""
        texts = ["".join(argument) for argument in self._arguments]
        return texts if texts[-1].strip() else texts[:-1]

    def _behind_call(self, char: str) -> None:
        """A comma leads to the next call, a bracket out of the list. Models forget the bracket at times."""
        self._held += char
        if char == ",":
            self._take = self._in_name
        elif char == "]":
            self._held = ""
            self._take = self._outside
        elif not char.isspace() or len(self._held) > MAX_HELD:
            self._leave_list()

    def _in_name(self, char: str) -> None:
        self._held += char
        if found := NEXT.fullmatch(self._held):
            self._begin(found[1])
        elif END_AFTER_COMMA.fullmatch(self._held):
            self._held = ""
            self._take = self._outside
        elif not _may_be(NEXT, self._held):
            self._leave_list()

    def _leave_list(self) -> None:
        held, self._held = self._held, ""
        self._take = self._outside
        for char in held:
            self._take(char)


class PythonEnd:
    """Finds the closing parenthesis of a call, a character at a time."""

    def __init__(self) -> None:
        self._open = ["("]
        self._quote = ""
        self._run = ""  # of quotes, at the beginning of a string or inside of a triple-quoted one
        self._escaped = False

    @property
    def between_arguments(self) -> bool:
        """Outside of strings and of brackets other than the call's own."""
        return len(self._open) == 1 and not self._quote and not self._run

    def take(self, char: str) -> bool:
        """Whether the call ends with this character."""
        if self._run and not self._quote:
            self._opening_quote(char)
            if self._quote or self._run:
                return False
        if self._quote:
            self._in_string(char)
        elif char in "\"'":
            self._run = char
        elif char in CLOSING:
            self._open.append(char)
        elif char in CLOSING.values():
            self._open.pop()
            return not self._open
        return False

    def _opening_quote(self, char: str) -> None:
        """After one quote: a string begins, unless two more quotes follow; two alone were an empty string."""
        quote = self._run[0]
        if char == quote:
            self._run += char
            if len(self._run) == 3:
                self._quote, self._run = self._run, ""
        elif len(self._run) == 1:
            self._quote, self._run = quote, ""
            self._in_string(char)
        else:
            self._run = ""

    def _in_string(self, char: str) -> None:
        if self._escaped:
            self._escaped = False
        elif char == "\\":
            self._escaped = True
            self._run = ""
        elif char == self._quote[0]:
            self._run += char
            if self._run == self._quote:
                self._quote = self._run = ""
        else:
            self._run = ""


def _read_arguments(arguments: Sequence[str]) -> str:
    """JSON text of the arguments of a call, from `a=1` and `b="x"`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes that Python doesn't know
            return json_text(dict(map(_argument, arguments)))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UnreadableArguments(str(error)[:MAX_PROBLEM] or "The arguments are nested too deeply.") from None


def _argument(text: str) -> tuple[str, Any]:
    found = ARGUMENT.fullmatch(text)
    if found is None:
        raise UnreadableArguments("Arguments need their names.")
    name = json.loads(found[1], strict=False) if found[1].startswith('"') else found[1]
    return name, _Value(found[2].strip()).read()


class _Value:
    """A Python literal, or JSON."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._lines: list[bytes] = []

    def read(self) -> Any:
        tree = ast.parse(self._source, mode="eval")
        # As ast counts them: in bytes.
        self._lines = self._source.encode().split(b"\n")
        return self._value(tree.body)

    def _value(self, node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=str()):
                return self._text(node)
            case ast.Constant(value=bool() | int() | float() | None as value):
                return value
            case ast.Name(id=name) if name in NAMED_VALUES:
                return NAMED_VALUES[name]
            case ast.List(elts=items) | ast.Tuple(elts=items):
                return [self._value(item) for item in items]
            case ast.Dict(keys=keys, values=values):
                return {self._key(key): self._value(value) for key, value in zip(keys, values, strict=True)}
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
                return -number
            case ast.UnaryOp(op=ast.UAdd(), operand=ast.Constant(value=int() | float() as number)):
                return number
            case _:
                raise UnreadableArguments(f"{ast.unparse(node)[:MAX_PROBLEM]} is not a plain value.")

    def _text(self, node: ast.Constant) -> str:
        """A string; where it is one in JSON too, as JSON means it: `\\/` and pairs of surrogates differ."""
        written = self._lines[node.lineno - 1][node.col_offset : node.end_col_offset]
        if node.lineno == node.end_lineno and written.startswith(b'"'):
            with suppress(ValueError):
                return _json_text(written)
        return str(node.value)

    def _key(self, node: ast.expr | None) -> str:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return self._text(node)
        raise UnreadableArguments("The keys of an object have to be strings.")


def _json_text(written: bytes) -> str:
    text = json.loads(written)
    if not isinstance(text, str):
        raise ValueError("no string")
    return text


def _may_be(pattern: Any, held: str) -> bool:
    """Whether a text is what the pattern describes, or may become it."""
    return len(held) <= MAX_HELD and pattern.fullmatch(held, partial=True) is not None
