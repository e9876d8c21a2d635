"""What holds for the readers of all dialects, whatever a model writes and however the text was cut."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.tools import BuiltinTool, ToolCall, ToolPromptFormat
from service.tool_formats import function_tag, json_object, python_list
from service.tool_formats.builtin import QUERY_TOOLS, BuiltinReader
from service.tool_formats.dialects import PROMPTED, write_calls
from service.tool_formats.reading import PYTHON_TAG, CallBegun, CallFragment, CallRead, Piece, Reader, Text

NAMES = ("get_weather", "search-web", "math.add", "f")
TRICKY = "{}[]()<>|=`\"':;,.\\\n \tf1_-/functionparamegsyhlkd"


@dataclass(frozen=True)
class Format:
    name: str
    write: Callable[[Sequence[ToolCall]], str]
    reader: Callable[[], Reader]

    def __str__(self) -> str:
        return self.name


FORMATS = [
    Format("json", json_object.write, lambda: json_object.reader(NAMES)),
    Format("function_tag", function_tag.write, lambda: function_tag.reader(NAMES)),
    Format("python_list", python_list.write, lambda: python_list.reader(NAMES)),
]
every_format = pytest.mark.parametrize("dialect", FORMATS, ids=str)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=12),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=6), values, max_size=3),
    max_leaves=8,
)
argument_names = st.text(max_size=8) | st.sampled_from(["class", "from", "None", "a=b", 'a"b', "größe", "k-v", "@type"])
calls = st.builds(
    lambda name, arguments: ToolCall(call_id="", tool_name=name, arguments_json=json.dumps(arguments)),
    st.sampled_from(NAMES),
    st.dictionaries(argument_names, json_values, max_size=4),
)


def cut(text: str, draw: Callable[[Any], Any]) -> list[str]:
    places = sorted(draw(st.lists(st.integers(0, len(text)), max_size=12)))
    return [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]


def read(reader: Reader, bites: Iterable[str]) -> list[Piece]:
    pieces = [piece for bite in bites for piece in reader.feed(bite)]
    return joined([*pieces, *reader.close()])


def joined(pieces: Iterable[Piece]) -> list[Piece]:
    """Neighbouring texts and fragments as one: where they are cut says nothing."""
    whole: list[Piece] = []
    for piece in pieces:
        match whole[-1:], piece:
            case [Text(text=before)], Text(text=more):
                whole[-1] = Text(before + more)
            case [CallFragment(text=before)], CallFragment(text=more):
                whole[-1] = CallFragment(before + more)
            case _:
                whole.append(piece)
    return whole


def found_calls(pieces: Iterable[Piece]) -> list[tuple[str | None, Any]]:
    return [(piece.name, json.loads(piece.arguments_json or "null")) for piece in pieces if isinstance(piece, CallRead)]


def text_of(pieces: Iterable[Piece]) -> str:
    return "".join(piece.text for piece in pieces if isinstance(piece, Text))


@every_format
@given(written=st.lists(calls, min_size=1, max_size=4), data=st.data())
def test_what_was_written_is_read(dialect: Format, written: list[ToolCall], data: st.DataObject) -> None:
    pieces = read(dialect.reader(), cut(dialect.write(written), data.draw))
    assert found_calls(pieces) == [(call.tool_name, json.loads(call.arguments_json)) for call in written]
    assert text_of(pieces) == ""


queries = st.builds(
    lambda tool, query: ToolCall(call_id="", tool_name=tool, arguments_json=json.dumps({"query": query})),
    st.sampled_from(QUERY_TOOLS),
    st.text(max_size=12) | st.text(TRICKY, max_size=12),
)


@pytest.mark.parametrize("tool_format", list(PROMPTED))
@given(written=st.lists(calls | queries, min_size=1, max_size=4), tag=st.sampled_from(["", PYTHON_TAG]), data=st.data())
def test_built_in_calls_are_read_among_others(
    tool_format: ToolPromptFormat, written: list[ToolCall], tag: str, data: st.DataObject
) -> None:
    dialect = PROMPTED[tool_format]
    reader = BuiltinReader(QUERY_TOOLS, lambda: dialect.reader(NAMES))
    pieces = read(reader, cut(tag + write_calls(dialect, written), data.draw))
    assert found_calls(pieces) == [(call.tool_name, json.loads(call.arguments_json)) for call in written]
    assert text_of(pieces) == ""


@pytest.mark.parametrize("tool_format", list(PROMPTED))
@given(text=st.text(alphabet=TRICKY + "brave_sc.l|pythontg", max_size=60), data=st.data())
def test_cuts_make_no_difference_to_built_in_calls(
    tool_format: ToolPromptFormat, text: str, data: st.DataObject
) -> None:
    def reader() -> Reader:
        return BuiltinReader(list(BuiltinTool), lambda: PROMPTED[tool_format].reader(NAMES))

    spoken = PYTHON_TAG + text if data.draw(st.booleans()) else text
    assert read(reader(), cut(spoken, data.draw)) == read(reader(), [spoken])


@every_format
@given(text=st.text(alphabet=TRICKY, max_size=80), data=st.data())
def test_cuts_make_no_difference(dialect: Format, text: str, data: st.DataObject) -> None:
    assert read(dialect.reader(), cut(text, data.draw)) == read(dialect.reader(), [text])


@every_format
@given(
    parts=st.lists(
        st.text(alphabet=TRICKY, max_size=8)
        | st.sampled_from(
            ['{"name":"f","parameters":{', "<function=f>", "[f(", "</function>", "<|python_tag|>", "```json\n"]
        ),
        max_size=8,
    )
)
def test_nothing_a_model_writes_breaks_a_reader(dialect: Format, parts: list[str]) -> None:
    fragments: list[str] | None = None
    for piece in read(dialect.reader(), parts):
        match piece:
            case CallBegun():
                assert fragments is None
                fragments = []
            case CallFragment(text=text):
                assert fragments is not None
                fragments.append(text)
            case CallRead():
                assert fragments is not None
                assert piece.raw_text == "".join(fragments) != ""
                assert (piece.arguments_json is None) == (piece.problem is not None)
                fragments = None
            case Text():
                assert fragments is None
                assert piece.text
    assert fragments is None


@every_format
@given(text=st.text(alphabet=TRICKY.replace("=", "").replace("f", ""), max_size=120), data=st.data())
def test_text_without_calls_passes_unchanged(dialect: Format, text: str, data: st.DataObject) -> None:
    assert read(dialect.reader(), cut(text, data.draw)) == ([Text(text)] if text else [])


@every_format
@given(written=st.lists(calls, min_size=1, max_size=2), data=st.data())
def test_a_call_that_is_cut_off_says_so(dialect: Format, written: list[ToolCall], data: st.DataObject) -> None:
    text = dialect.write(written)
    end = data.draw(st.integers(0, len(text)))
    whole = read(dialect.reader(), [text])
    for piece in read(dialect.reader(), [text[:end]]):
        if isinstance(piece, CallRead) and not piece.cut:
            assert piece.arguments_json in [p.arguments_json for p in whole if isinstance(p, CallRead)]
