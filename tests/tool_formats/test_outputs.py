"""What models write, or something like it, and what is read of it; the same however the text is cut."""

from collections.abc import Callable
from typing import Any

import pytest

from service.api.tools import BuiltinTool
from service.tool_formats import function_tag, json_object, python_list
from service.tool_formats.builtin import BuiltinReader
from service.tool_formats.reading import PYTHON_TAG, CallFragment, CallRead, Piece, Reader, Text
from tests.tool_formats.test_readers import found_calls, read, text_of

NAMES = ("get_weather", "search-web", "math.add", "f")
F = ("f", {"a": 1})
CALL = '{"name": "f", "parameters": {"a": 1}}'

JSON: list[tuple[str, list[Any], str]] = [
    ('{"type": "function", "name": "f", "parameters": {"a": 1}}', [F], ""),
    ('{"name": "f", "arguments": {"a": 1}}', [F], ""),
    ('{"arguments": {"a": 1}, "name": "f"}', [F], ""),
    ('{"function": {"name": "f", "arguments": {"a": 1}}}', [F], ""),
    ('{"function": {"name": "f"}, "arguments": {"a": 1}}', [F], ""),
    ('{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\\"a\\": 1}"}}', [F], ""),
    ('{"name": "f", "arguments": "{\\"a\\": 1}"}', [F], ""),
    ('{\n    "name": "f",\n    "parameters": {\n        "a": 1\n    }\n}\n', [F], ""),
    (f"{CALL}; {CALL}", [F, F], ""),
    (f"{CALL}\n{CALL}", [F, F], ""),
    (f"{CALL}{CALL}", [F, F], ""),
    (f"[{CALL}, {CALL}]", [F, F], ""),
    (f"```json\n{CALL}\n```", [F], ""),
    (f"```\n{CALL}\n```\nDone.", [F], "Done."),
    (f"<tool_call>\n{CALL}\n</tool_call>", [F], ""),
    (f"<tool_call>\n{CALL}\n</tool_call>\n<tool_call>\n{CALL}\n</tool_call>", [F, F], ""),
    (f"[TOOL_CALLS] [{CALL}]", [F], ""),
    (f"{PYTHON_TAG}{CALL}", [F], ""),
    (f"Let me see. {CALL} That was it.", [F], "Let me see.  That was it."),
    ('{"name": "search-web", "parameters": {}}', [("search-web", {})], ""),
    (
        '{"name": "math.add", "parameters": {"x": {"y": [{"z": "}]{"}]}}}',
        [("math.add", {"x": {"y": [{"z": "}]{"}]}})],
        "",
    ),
    ('{"name": "f", "parameters": {"a": "it\'s \\"so\\" \\u00e9\\\\"}}', [("f", {"a": 'it\'s "so" é\\'})], ""),
    ('{"name": "f", "parameters": {"a": "x\ny"}}', [("f", {"a": "x\ny"})], ""),
    ('{"type": "function", "name": "unknown", "parameters": {}}', [("unknown", {})], ""),
    ('{"name": "f", "parameters": {"a": 1e999, "b": "x\ny"}}', [("f", None)], ""),
    ('{"name": "f", "parameters": [1]}', [("f", None)], ""),
    ('{"name": "f", "parameters": {"a": }}', [("f", None)], ""),
    ('{"name": "f", "parameters" {"a": 1}}', [("f", None)], ""),
    ('{"name": "f", "parameters": "no"}', [("f", None)], ""),
    ('{"name": "f", "parameters": {"a": NaN}}', [("f", None)], ""),
]
JSON_DATA = [
    '{"name": "Ann", "parameters": {"age": 3}}',
    '{"name": "f"}',
    '{"name": "f", "age": 3}',
    '{"people": [{"name": "f", "parameters": {}}]}',
    '{"name": ["f"], "parameters": {}}',
    '{"type": "function", "name": "\\ud800", "parameters": {}}',
    "[1, 2, {}]",
    "```json\n[1]\n```",
    "if (x) { return y; }",
    "{{name}} and { 'name': 'f' }",
    '{"name": "f"',
    "[TOOL_CALLS] <tool_call> none",
]

FUNCTION_TAG: list[tuple[str, list[Any], str]] = [
    ('<function=f>{"a": 1}</function>', [F], ""),
    (f'{PYTHON_TAG}<function=f>{{"a": 1}}</function>', [F], ""),
    (
        '<function=f>{"a": {"b": {"c": "}"}}, "d": "it\'s"}</function>',
        [("f", {"a": {"b": {"c": "}"}}, "d": "it's"})],
        "",
    ),
    ('<function=f>\n{"a":\n1}\n</function>', [F], ""),
    ('<function=f>{"a": 1}', [F], ""),
    ('<function=f>{"a": 1} Done.', [F], " Done."),
    ('<function=f>{"a": 1}</function><function=f>{"a": 1}</function>', [F, F], ""),
    ('<function=f>{"a": 1}<function=f>{"a": 1}', [F, F], ""),
    ('So: <function=f>{"a": 1}</function> Done.', [F], "So:  Done."),
    ('<function=search-web>{"q": "</function>"}</function>', [("search-web", {"q": "</function>"})], ""),
    ("<function=math.add></function>", [("math.add", {})], ""),
    ("<function=unknown>{}</function>", [("unknown", {})], ""),
    ("<function=f>a=1</function> Done.", [("f", None)], " Done."),
    ("<function=f>{'a': 1}</function>", [("f", None)], ""),
    ("<function=f>[1]</function>", [("f", None)], ""),
]
FUNCTION_TAG_DATA = [
    "<function=",
    "<function=f",
    "<function=f g>{}</function>",
    "a < b > c",
    "<function=>{}",
    "</function>",
]

PYTHON_LIST: list[tuple[str, list[Any], str]] = [
    ("[f(a=1)]", [F], ""),
    (f"{PYTHON_TAG}[f(a=1)]", [F], ""),
    ("[f(a=1), f(a=1)]", [F, F], ""),
    ("[f(a=1),]", [F], ""),
    ("[f(a=1,)]", [F], ""),
    ("  [ f( a = 1 ) ]  ", [F], "    "),
    ("[f(a=1)", [F], ""),
    ("[f(a=1)] Done.", [F], " Done."),
    ("So: [f(a=1)]", [F], "So: "),
    ("[search-web(q='it\\'s'), f(a=1)]", [("search-web", {"q": "it's"}), F], ""),
    ("[math.add(x=-1, y=+2.5)]", [("math.add", {"x": -1, "y": 2.5})], ""),
    ("[f(a=\"x)\", b=')]', c='''\"q\" 'r'\ns''')]", [("f", {"a": "x)", "b": ")]", "c": "\"q\" 'r'\ns"})], ""),
    ('[f(a="\\n\\t\\"\\\\\\u00e9\\/")]', [("f", {"a": '\n\t"\\é/'})], ""),
    ('[f(a="\\ud83e\\udd8a")]', [("f", {"a": "🦊"})], ""),
    ('[f(a={"k": [1, (2, 3)], "n": None}, b=[True, False, true, false, null])]',
     [("f", {"a": {"k": [1, [2, 3]], "n": None}, "b": [True, False, True, False, None]})], ""),
    ('[f(a=1e5, "b c"=1, class=2)]', [("f", {"a": 1e5, "b c": 1, "class": 2})], ""),
    ("[f(a='')]", [("f", {"a": ""})], ""),
    ("[f(a=1), unknown()]", [F, ("unknown", {})], ""),
    ("[f()]", [("f", {})], ""),
    ("[f(1)]", [("f", None)], ""),
    ("[f(**{})]", [("f", None)], ""),
    ("[f(a=x)]", [("f", None)], ""),
    ("[f(a=g(b=1))]", [("f", None)], ""),
    ("[f(a=1e999)]", [("f", None)], ""),
    ("[f(a=1,,b=2)]", [("f", None)], ""),
    ("[f(a={1: 2})]", [("f", None)], ""),
    ("[f(a='x\ny')]", [("f", None)], ""),
]  # fmt: skip
PYTHON_LIST_DATA = ["[]", "[see (note)]", "[unknown(a=1)]", "f(a=1)", "[f", "[1, 2]", "[f[0](a)]", "x[f] (y)"]


def cases(
    name: str, reader: Callable[[], Reader], calls: list[tuple[str, list[Any], str]], data: list[str]
) -> list[Any]:
    whole = [*calls, *((text, [], text) for text in data)]
    return [pytest.param(reader, *case, id=f"{name}: {case[0]}") for case in whole]


EVERY_CASE = [
    *cases("json", lambda: json_object.reader(NAMES), JSON, JSON_DATA),
    *cases("tag", lambda: function_tag.reader(NAMES), FUNCTION_TAG, FUNCTION_TAG_DATA),
    *cases("python", lambda: python_list.reader(NAMES), PYTHON_LIST, PYTHON_LIST_DATA),
]


@pytest.mark.parametrize(("reader", "output", "calls", "text"), EVERY_CASE)
def test_calls_and_text_are_told_apart(reader: Callable[[], Reader], output: str, calls: list[Any], text: str) -> None:
    pieces = read(reader(), [output])
    assert found_calls(pieces) == calls
    assert text_of(pieces) == text


@pytest.mark.parametrize(("reader", "output", "calls", "text"), EVERY_CASE)
def test_it_is_the_same_wherever_it_is_cut(
    reader: Callable[[], Reader], output: str, calls: list[Any], text: str
) -> None:
    whole = read(reader(), [output])
    for place in range(1, len(output)):
        assert read(reader(), [output[:place], output[place:]]) == whole
    assert read(reader(), list(output)) == whole


@pytest.mark.parametrize(("reader", "output", "calls", "text"), EVERY_CASE)
def test_an_output_that_breaks_off_holds_no_call_that_the_whole_one_does_not(
    reader: Callable[[], Reader], output: str, calls: list[Any], text: str
) -> None:
    for end in range(len(output)):
        finished = [piece for piece in read(reader(), [output[:end]]) if isinstance(piece, CallRead) and not piece.cut]
        assert found_calls(finished) == calls[: len(finished)]


BRAVE = 'brave_search.call(query="x")'
SEARCH = ("brave_search", {"query": "x"})
BUILTIN: list[tuple[str, list[Any], str]] = [
    (BRAVE, [SEARCH], ""),
    (f" \n{BRAVE}", [SEARCH], ""),
    (f"{PYTHON_TAG}{BRAVE}", [SEARCH], ""),
    (f"{PYTHON_TAG} {BRAVE}", [SEARCH], ""),
    (f"Sure. {PYTHON_TAG}{BRAVE}", [SEARCH], "Sure. "),
    (f"a <<{PYTHON_TAG}{BRAVE}", [SEARCH], "a <<"),
    (f"{BRAVE}{BRAVE}\n{BRAVE}", [SEARCH] * 3, "\n"),
    (f"{BRAVE}{CALL}{BRAVE}{CALL}", [SEARCH, F, SEARCH, F], ""),
    (f"{PYTHON_TAG}{CALL}{BRAVE}", [F, SEARCH], ""),
    (f"{CALL}\n{BRAVE}", [F, SEARCH], ""),
    (f"{BRAVE} and so on", [SEARCH], " and so on"),
    ('brave_search.call(query="a \\"b\\" \\u00e9)")', [("brave_search", {"query": 'a "b" é)'})], ""),
    ('brave_search.call(query="a\nb" )', [("brave_search", {"query": "a\nb"})], ""),
    ('brave_search.call(query="a\\d")', [("brave_search", {"query": "a\\d"})], ""),
    ('brave_search.call(query="a\\ud800")', [("brave_search", {"query": "a\ud800"})], ""),
    ('brave_search.call(query="a", n=1)', [("brave_search", None)], ", n=1)"),
    ('brave_search.call(query="a"', [("brave_search", None)], ""),
    (f"Sure. {BRAVE}", [], f"Sure. {BRAVE}"),
    (f"{CALL} Then {BRAVE}", [F], f" Then {BRAVE}"),
    ('wolfram_alpha.call(query="x")', [], 'wolfram_alpha.call(query="x")'),
    ('word.call(query="x")', [], 'word.call(query="x")'),
    (f"{PYTHON_TAG}Hello", [], "Hello"),
    (PYTHON_TAG, [], ""),
    ("brave_search.call(", [], "brave_search.call("),
    ("a <|python", [], "a <|python"),
]
CODE: list[tuple[str, list[Any], str]] = [
    (f"{PYTHON_TAG}import os\nprint(1)\n", [("code_interpreter", {"code": "import os\nprint(1)\n"})], ""),
    (f"{PYTHON_TAG}  x = 1", [("code_interpreter", {"code": "  x = 1"})], ""),
    (f"{PYTHON_TAG}b", [("code_interpreter", {"code": "b"})], ""),
    (f"{PYTHON_TAG}[1, 2]", [("code_interpreter", {"code": "[1, 2]"})], ""),
    (f'{PYTHON_TAG}{{"a": 1}}', [("code_interpreter", {"code": '{"a": 1}'})], ""),
    (f"{PYTHON_TAG}{{1", [("code_interpreter", {"code": "{1"})], ""),
    (f"{PYTHON_TAG}{{", [("code_interpreter", {"code": "{"})], ""),
    (f"Sure. {PYTHON_TAG}print(1)", [("code_interpreter", {"code": "print(1)"})], "Sure. "),
    (f"{PYTHON_TAG}{CALL}", [F], ""),
    (f"{PYTHON_TAG}{BRAVE}", [SEARCH], ""),
    (PYTHON_TAG, [], ""),
    (f"{PYTHON_TAG} \n", [], " \n"),
    ("print(1)", [], "print(1)"),
]


def builtin_reader(*names: BuiltinTool) -> Reader:
    return BuiltinReader(names, lambda: json_object.reader(NAMES))


def searching() -> Reader:
    return builtin_reader(BuiltinTool.BRAVE_SEARCH)


def coding() -> Reader:
    return builtin_reader(BuiltinTool.BRAVE_SEARCH, BuiltinTool.CODE_INTERPRETER)


BUILTIN_CASES = [*((searching, *case) for case in BUILTIN), *((coding, *case) for case in CODE)]


@pytest.mark.parametrize(("reader", "output", "calls", "text"), BUILTIN_CASES)
def test_built_in_tools_are_called_in_their_own_way(
    reader: Callable[[], Reader], output: str, calls: list[Any], text: str
) -> None:
    whole = read(reader(), [output])
    assert (found_calls(whole), text_of(whole)) == (calls, text)
    assert read(reader(), list(output)) == whole
    for place in range(1, len(output)):
        assert read(reader(), [output[:place], output[place:]]) == whole


@pytest.mark.parametrize("others", [json_object, function_tag, python_list])
def test_code_may_be_anything(others: Any) -> None:
    code = "for x in [f(a=1)]:\n    print({'a': x}, '</function>')\n"
    reader = BuiltinReader([BuiltinTool.CODE_INTERPRETER], lambda: others.reader(NAMES))
    assert found_calls(read(reader, [PYTHON_TAG, code])) == [("code_interpreter", {"code": code})]


READERS: dict[str, Callable[[], Reader]] = {
    "json": lambda: json_object.reader(NAMES),
    "tag": lambda: function_tag.reader(NAMES),
    "python": lambda: python_list.reader(NAMES),
    "built-in": searching,
    "code": coding,
}


def longest_held(reader: Reader, text: str) -> int:
    """The most characters that were fed without a piece coming out."""
    held = most = 0
    for place in range(0, len(text), 64):
        held += 64
        if reader.feed(text[place : place + 64]):
            held = 0
        most = max(most, held)
    return most


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
@pytest.mark.parametrize("repeated", [" ", "[", "<", "`", "\n", "f", ","])
def test_text_that_is_no_call_is_not_held_back(reader: Callable[[], Reader], repeated: str) -> None:
    assert longest_held(reader(), "So: " + repeated * 4000) <= 256


OPENINGS = [
    "",
    CALL,
    '<function=f>{"a": "',
    "[f()",
    "[f(a=",
    '[f(a="',
    '{"name": "',
    PYTHON_TAG,
    f'{PYTHON_TAG}{{"',
    BRAVE,
]
REPEATED = [
    " ",
    "{",
    "[",
    '"',
    "\\",
    "<",
    "f(",
    CALL,
    "[f(",
    "<function=f>",
    PYTHON_TAG,
    '{"type": "',
    "```",
    ", ",
    "}",
]


def held(reader: Any) -> list[str]:
    """The strings that a reader adds characters to."""
    inner = held(reader._others) if isinstance(reader, BuiltinReader) else []
    return [value for value in vars(reader).values() if isinstance(value, str)] + inner


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
@pytest.mark.parametrize("opening", OPENINGS)
def test_what_grows_a_character_at_a_time_stays_short(reader: Callable[[], Reader], opening: str) -> None:
    """Else reading would take longer, the longer the text is: strings are copied to be added to."""
    for repeated in REPEATED:
        reading = reader()
        reading.feed(opening + (repeated * 600)[:600])
        assert max(map(len, held(reading))) <= 200, repeated


@pytest.mark.timeout(60)
@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_long_nonsense_is_read_in_passing(reader: Callable[[], Reader]) -> None:
    pieces: list[Piece] = []
    for opening in ("", "[f()", f'{PYTHON_TAG}{{"name": "'):
        reading = reader()
        pieces += [*reading.feed(opening + "[ {" * 4_000), *reading.close()]
    assert sum(len(piece.text) for piece in pieces if isinstance(piece, Text | CallFragment)) >= 24_000
