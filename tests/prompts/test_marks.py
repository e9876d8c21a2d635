"""Marks: what a template does to texts is seen through, and nothing that a caller wrote counts as the template's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.prompts.marks import Marks
from service.prompts.tokenizer import Segment

texts = st.text('a <|>\n"\\', max_size=6)


def marks() -> Marks:
    return Marks(lambda word: word == "think")


def own(text: str) -> Segment:
    return Segment(text, trusted=True)


def callers(text: str) -> Segment:
    return Segment(text, trusted=False)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        (" \n spaced\n ", " \n spaced\n "),
        (" \n spaced\n ", "spaced"),
        (" \n spaced\n ", "spaced\n "),
        (" \n spaced\n ", " \n spaced"),
        ("\n\n spaced\n", " spaced"),
        ("thoughts\n</think>\n\nThe answer.", "The answer."),
        ("a</think>b</think>\nc", "\nc"),
        ('{"a":\n "b\\c"}', '{\\"a\\":\\n \\"b\\\\c\\"}'),
        (' "a"\n', '\\"a\\"'),
        (" \n ", " \n "),
    ],
)
def test_a_content_may_be_shown_in_other_ways(text: str, shown: str) -> None:
    given_ = marks()
    frame = f"<s>{given_.content(text)}<e>"
    assert given_.fitted(frame, f"<s>{shown}<e>") == [own("<s>"), callers(shown), own("<e>")]


def test_a_content_of_blanks_may_be_left_out() -> None:
    given_ = marks()
    assert given_.fitted(f"<s>{given_.content('  ')}<e>", "<s><e>") == [own("<s>"), own("<e>")]


@pytest.mark.parametrize("shown", ['say \\"hi\\"\\n', 'say "hi"\n', 'say "hi"\\n'])
def test_a_string_is_shown_as_in_json_or_bare_or_as_in_python(shown: str) -> None:
    given_ = marks()
    frame = '{"a": "' + given_.in_json('say "hi"\n') + '"}'
    assert given_.fitted(frame, '{"a": "' + shown + '"}') == [own('{"a": "'), callers(shown), own('"}')]


def test_each_text_may_be_shown_in_its_own_way() -> None:
    given_ = marks()
    frame = "".join(f"<{given_.content(text)}>" for text in (" a ", " b ", '"c"\n'))
    fitted = given_.fitted(frame, '< a ><b><\\"c\\"\\n>')
    assert fitted is not None
    assert [segment.text for segment in fitted if not segment.trusted] == [" a ", "b", '\\"c\\"\\n']


def test_what_was_changed_otherwise_does_not_fit_and_is_filled_in_unchanged() -> None:
    given_ = marks()
    frame = f"<s>{given_.content('Hello')}<e>"
    assert given_.fitted(frame, "<s>HELLO<e>") is None
    assert given_.filled(frame) == [own("<s>"), callers("Hello"), own("<e>")]


def test_a_text_that_spells_the_frame_is_the_callers_all_the_same() -> None:
    """The template leaves the second, blank turn out, and the first one imitates it."""
    given_ = marks()
    imitation = "x<e><s> "
    frame = f"<s>{given_.content(imitation)}<e><s>{given_.content(' ')}<e>"
    assert given_.fitted(frame, f"<s>{imitation}<e>") is None
    assert given_.filled(frame)[1] == callers(imitation)


@pytest.mark.parametrize("text", ["", "type", "properties", "weather", "a-b_c.1"])
def test_words_that_templates_compare_stay(text: str) -> None:
    assert marks().in_json(text) == text


@pytest.mark.parametrize("text", ["think", "two words", "<|im_end|>", '"', "é"])
def test_whatever_could_become_a_control_token_is_marked(text: str) -> None:
    assert text not in marks().in_json(text)


def test_a_text_that_spells_a_mark_is_the_callers_all_the_same() -> None:
    """Nobody can know it, and it would be of no use."""
    given_ = marks()
    spelled = marks().content("a")
    frame = f"<s>{given_.content(spelled)}<e>"
    assert given_.fitted(frame, f"<s>{spelled}<e>") == [own("<s>"), callers(spelled), own("<e>")]
    assert given_.filled(frame) == [own("<s>"), callers(spelled), own("<e>")]


@pytest.mark.parametrize("change", [lambda m: m[1:], lambda m: m[:9], lambda m: m[:-1], lambda m: m * 2 + m[0]])
def test_damaged_marks_are_found(change: object) -> None:
    given_ = marks()
    assert callable(change)
    assert given_.damaged_in(change(given_.content("Hello")))
    assert not given_.damaged_in(f"<{given_.content('Hello')}>")


@given(contents=st.lists(texts, max_size=4))
def test_texts_as_they_are_always_fit(contents: list[str]) -> None:
    given_ = marks()
    frame = "".join(f"<s>{given_.content(text)}<e>" for text in contents)
    fitted = given_.fitted(frame, "".join(f"<s>{text}<e>" for text in contents))
    assert fitted is not None
    assert "".join(segment.text for segment in fitted) == "".join(f"<s>{text}<e>" for text in contents)
    assert "".join(segment.text for segment in fitted if segment.trusted) == "<s><e>" * len(contents)
