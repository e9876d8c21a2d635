"""Images in prompts: in their places, whatever form the template takes them in, and never where a text spells one."""

from dataclasses import replace
from functools import partial

import pytest

from service.errors import InvalidField, UnsupportedByModel
from service.prompts.conversation import Turn
from service.prompts.image_places import PLACE, pieces
from service.prompts.renderer import Renderer
from service.prompts.tokenizer import Tokenizer
from tests.prompts import small_tokenizers as small

IMAGE, START, END = "<image>", "<|im_start|>", "<|im_end|>"
HEAD = "{% for m in messages %}<|im_start|>{{ m.role }}\n"
FOOT = "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
EACH_ITEM = (
    "{% for item in m.content %}{% if item.type == 'image' %}<image>{% else %}{{ item.text }}{% endif %}{% endfor %}"
)
# Each after the manner of a family.
LISTS = HEAD + EACH_ITEM + FOOT
BOTH = HEAD + "{% if m.content is string %}{{ m.content }}{% else %}" + EACH_ITEM + "{% endif %}" + FOOT
STRINGS = HEAD + "{{ m.content }}" + FOOT
TRIMMED_STRINGS = HEAD + "{{ m.content | trim }}" + FOOT
LISTS_OF_USERS = HEAD + "{% if m.role == 'user' and m.content is not string %}" + EACH_ITEM
LISTS_OF_USERS += "{% else %}{{ m.content }}{% endif %}" + FOOT
WITHOUT_IMAGES = HEAD + "{% if m.content is string %}{{ m.content }}{% else %}{{ m.content[0].text }}{% endif %}" + FOOT
TEMPLATES = {"lists": LISTS, "both": BOTH, "strings": STRINGS, "lists of users": LISTS_OF_USERS}

QUESTION = Turn("user", f"What is {PLACE}{PLACE} beside\n{PLACE}?")
SAID = f"{START}user\nWhat is {IMAGE}{IMAGE} beside\n{IMAGE}?{END}\n{START}assistant\n"


def renderer_of(template: str | None, placeholder: str | None = IMAGE) -> Renderer:
    tokenizer = small.byte_level(special=(START, END, IMAGE))
    return Renderer(Tokenizer(small.loaded(tokenizer, chat_template=template)), image_placeholder=placeholder)


def image_tokens(renderer: Renderer, turns: list[Turn]) -> int:
    return renderer.chat(turns).token_ids.count(renderer.tokenizer.control_tokens[IMAGE])


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_images_stand_among_the_text(template: str) -> None:
    renderer = renderer_of(template)
    assert renderer.chat([QUESTION]).text == SAID
    assert image_tokens(renderer, [QUESTION]) == 3


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_a_text_that_spells_one_stays_text(template: str) -> None:
    renderer = renderer_of(template)
    turns = [Turn("user", f"{IMAGE} {PLACE} <im"), Turn("assistant", IMAGE), Turn("user", f"age> {END}{IMAGE}")]
    prompt = renderer.chat(turns)
    assert image_tokens(renderer, turns) == 1
    assert prompt.neutralized_spans == 4
    assert prompt.text.startswith(f"{START}user\n{IMAGE} {IMAGE} <im{END}\n")


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_a_tool_shows_one_too(template: str) -> None:
    turns = [Turn("user", "Look!"), Turn("assistant", "I do."), Turn("tool", f"Seen: {PLACE}", call_id="1")]
    renderer = renderer_of(template)
    assert f"{START}tool\nSeen: {IMAGE}{END}" in renderer.chat(turns).text
    assert image_tokens(renderer, turns) == 1


@pytest.mark.parametrize("template", [LISTS, BOTH], ids=["lists", "both"])
def test_the_template_itself_says_what_stands_for_one(template: str) -> None:
    assert renderer_of(template, placeholder=None).chat([QUESTION]).text == SAID


@pytest.mark.parametrize("role", ["user", "tool"])
@pytest.mark.parametrize("template", [STRINGS, WITHOUT_IMAGES], ids=["strings", "without images"])
def test_a_model_whose_prompts_have_no_place_for_one_refuses_it(template: str, role: str) -> None:
    with pytest.raises(UnsupportedByModel, match="no place for an image") as refused:
        renderer_of(template, placeholder=None).chat(
            [Turn("user", "Look!"), Turn("assistant", "I do."), replace(QUESTION, role=role)]
        )
    assert [violation.field for violation in refused.value.violations] == ["messages"]


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_conversations_without_images_are_as_ever(template: str) -> None:
    turns = [
        Turn("system", "Be brief."),
        Turn("user", f" {END} Hello? "),
        Turn("assistant", "Hi."),
        Turn("user", "Bye."),
    ]
    expected = renderer_of(STRINGS).chat(turns)
    assert renderer_of(template).chat(turns) == expected


def test_blanks_may_go_as_the_template_has_it() -> None:
    turns = [Turn("user", f"  {PLACE} a {PLACE}\n")]
    assert renderer_of(TRIMMED_STRINGS).chat(turns).text == f"{START}user\n{IMAGE} a {IMAGE}{END}\n{START}assistant\n"


def test_a_completion_has_images_in_its_text() -> None:
    renderer = renderer_of(None)
    prompt = renderer.text(f"{IMAGE}{PLACE} shows")
    assert prompt.text == f"{IMAGE}{IMAGE} shows"
    assert prompt.token_ids.count(renderer.tokenizer.control_tokens[IMAGE]) == 1
    with pytest.raises(UnsupportedByModel) as refused:
        renderer_of(None, placeholder=None).text(f"{PLACE} shows")
    assert [violation.field for violation in refused.value.violations] == ["content"]


@pytest.mark.parametrize("content", ["", "a", PLACE, f"a{PLACE}", f"{PLACE}a", f"{PLACE}{PLACE}", f"a{PLACE}b{PLACE}c"])
def test_pieces_join_to_the_whole(content: str) -> None:
    found = list(pieces(content))
    assert "".join(found) == content
    assert all(found)


def test_a_text_that_nothing_tells_from_an_image_is_refused() -> None:
    renderer = renderer_of(BOTH, placeholder="[picture]")
    assert renderer.chat([Turn("user", "[picture]")]).text.startswith(f"{START}user\n[picture]")
    for refused in (
        partial(renderer.chat, [QUESTION, Turn("user", "[pic" + "ture]")]),
        partial(renderer.text, f"[picture]{PLACE}"),
    ):
        with pytest.raises(InvalidField, match="spells what stands for an image"):
            refused()
