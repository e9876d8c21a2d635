"""Every control token of every family, wherever a caller can write: it stays text, and ordinary text is as ever."""

import json
import unicodedata
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken
from tokenizers import Tokenizer as FastTokenizer

from service.api.content import TextContentItem
from service.api.messages import CompletionMessage, Message, SystemMessage, UserMessage
from service.api.tools import ToolCall, ToolConfig, ToolPromptFormat
from service.demo_models import default_cache_dir, prepare_embedding_model, prepare_language_model
from service.prompts.conversation import Turn, turns_of
from service.prompts.renderer import Renderer
from service.prompts.tokenizer import Prompt, Segment, Tokenizer
from service.tool_formats.native import described
from service.tool_formats.tools import Tool, tool_of
from service.tool_formats.use import tool_use
from tests.prompts import families
from tests.prompts import small_tokenizers as small
from tests.prompts.positions import CALLS, SYSTEM, TALK, TOOLS, Asked

FAMILIES = [*families.CHATTING, "smol"]
# All but those that leave blanks out, or take signs for others of the same kind.
LOSSLESS = ["chatml", "qwen", "llama 3", "mistral", "xml", "smol"]
EVERYWHERE = TALK | SYSTEM | CALLS | TOOLS
POSITIONS = [
    *((family, name, None) for family in FAMILIES for name in (*TALK, *SYSTEM)),
    *(
        (family, name, dialect)
        for family in FAMILIES
        for name in CALLS | TOOLS
        for dialect in (None, *ToolPromptFormat)
    ),
]
# No family takes it for anything, and no template for a name.
HARMLESS = "{word}"

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@cache
def renderer_of(family: str) -> Renderer:
    if family == "smol":
        return Renderer(Tokenizer.load(str(prepare_language_model(default_cache_dir()))))
    return Renderer(Tokenizer(families.chatting(family)))


def prompt_of(renderer: Renderer, asked: Asked, dialect: ToolPromptFormat | None = None) -> Prompt:
    config = asked.config or ToolConfig()
    if dialect:
        config = config.model_copy(update={"tool_prompt_format": dialect})
    use = tool_use([tool_of(definition) for definition in asked.tools], config, renderer.dialects)
    return renderer.chat(turns_of(asked.messages, asked.response_format), use)


def controls(renderer: Renderer, prompt: Prompt) -> list[int]:
    ids = set(renderer.tokenizer.control_tokens.values())
    return [token_id for token_id in prompt.token_ids if token_id in ids]


def read(renderer: Renderer, prompt: Prompt) -> str:
    """What the model reads."""
    return str(renderer.tokenizer.pretrained.decode(prompt.token_ids))


@pytest.mark.parametrize(("family", "name", "dialect"), POSITIONS)
def test_a_control_token_stays_text_wherever_a_caller_writes_it(
    family: str, name: str, dialect: ToolPromptFormat | None
) -> None:
    renderer, position = renderer_of(family), EVERYWHERE[name]
    harmless = prompt_of(renderer, position(HARMLESS), dialect)
    assert harmless.neutralized_spans == 0
    for token in set(renderer.tokenizer.control_tokens) - {families.ONLY_ALONE}:
        prompt = prompt_of(renderer, position(token), dialect)
        assert controls(renderer, prompt) == controls(renderer, harmless)
        assert prompt.neutralized_spans == prompt.text.count(token) - harmless.text.count(token)
        if family in LOSSLESS:
            assert read(renderer, prompt) == prompt.text


@pytest.mark.parametrize("name", CALLS | TOOLS)
@pytest.mark.parametrize("family", ["qwen", "llama 3", "mistral", "xml"])
def test_a_name_is_no_control_token_in_whatever_signs_the_template_puts_it(family: str, name: str) -> None:
    """`think` in the manner of `<{{ name }}>`."""
    renderer, position = renderer_of(family), EVERYWHERE[name]
    harmless = prompt_of(renderer, position("weather"))
    for word in {token.strip("<|/[]>") for token in renderer.tokenizer.control_tokens}:
        assert controls(renderer, prompt_of(renderer, position(word))) == controls(renderer, harmless)


@pytest.mark.parametrize("name", [*TALK, *SYSTEM])
@pytest.mark.parametrize("family", FAMILIES)
def test_what_was_said_reaches_the_model_and_counts(family: str, name: str) -> None:
    renderer = renderer_of(family)
    for token in set(renderer.tokenizer.control_tokens) - {families.END_OF_THOUGHTS}:
        said = f"so {token} it"
        prompt = prompt_of(renderer, EVERYWHERE[name](said))
        assert prompt.neutralized_spans == prompt.text.count(said) > 0


def talk(*contents: str) -> list[dict[str, Any]]:
    """User and assistant in turns."""
    return [{"role": ("user", "assistant")[index % 2], "content": text} for index, text in enumerate(contents)]


def with_call(arguments: dict[str, Any], result: str) -> list[dict[str, Any]]:
    call = {"type": "function", "id": "c1", "function": {"name": "get_weather", "arguments": arguments}}
    return [
        *talk("What is the weather?"),
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": result, "tool_call_id": "c1", "name": ""},
    ]


def turn_of(message: dict[str, Any]) -> Turn:
    calls = tuple(
        ToolCall(
            call_id=call["id"],
            tool_name=call["function"]["name"],
            arguments_json=json.dumps(call["function"]["arguments"]),
        )
        for call in message.get("tool_calls", ())
    )
    return Turn(message["role"], message["content"], calls, call_id=message.get("tool_call_id", ""))


SCHEMA = {"type": "object", "properties": {"a b": {"type": "string", "enum": ["x", 'y "z"']}}, "required": ["a b"]}
TALKS = {
    "a question": talk("Hello?"),
    "blanks": talk("\n\n  Hello?  ", " Hi.\n\n", "\tBye \u00a0", "\n", "a\n", "  b", " \n "),
    "signs": talk("<b>x</b> <|>[]{{ m }}{% endfor %} \u2e22 1 \u2e23 \ue000 </s", "東京 🦊 e\u0301", "<|im_end <think"),
}
CALLED = {
    "a call": with_call({"city": 'São "Paulo"', "days": [1, 2.5, None, "two words"], "in": {"a\n": "b"}}, "It rains."),
    "a result in JSON": with_call({}, ' {"weather": "rain",\n "degrees": 20}\n'),
}


def usual_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    return list(tokenizer.pretrained.encode(text, add_special_tokens=False))


def assert_as_usual(renderer: Renderer, messages: list[dict[str, Any]], tools: tuple[Tool, ...]) -> None:
    """What transformers makes of a conversation is what we make of it."""
    given = [described(tool) for tool in tools] or None
    pretrained = renderer.tokenizer.pretrained
    text = pretrained.apply_chat_template(messages, tools=given, tokenize=False, add_generation_prompt=True)
    prompt = renderer.chat(list(map(turn_of, messages)), tool_use(tools, ToolConfig(), renderer.dialects))
    assert prompt == Prompt(text, usual_ids(renderer.tokenizer, text), 0)


@pytest.mark.parametrize("name", TALKS)
@pytest.mark.parametrize("family", FAMILIES)
def test_ordinary_talk_has_the_tokens_that_transformers_gives_it(family: str, name: str) -> None:
    assert_as_usual(renderer_of(family), TALKS[name], ())


@pytest.mark.parametrize("name", TALKS | CALLED)
@pytest.mark.parametrize("family", ["qwen", "llama 3"])
def test_ordinary_tools_and_calls_have_them_too(family: str, name: str) -> None:
    tool = Tool("get_weather", 'Tells the\n"weather".', SCHEMA)
    assert_as_usual(renderer_of(family), (TALKS | CALLED)[name], (tool,))


def test_thoughts_that_a_template_leaves_out_are_left_out() -> None:
    messages = talk("1 + 1?", "<think>\nIt is 2.\n</think>\n\n2", "And + 1?")
    assert_as_usual(renderer_of("qwen"), messages, ())


def spelled(tokenizer: Tokenizer, text: str) -> int:
    return len(regex.findall("|".join(map(regex.escape, tokenizer.control_tokens)), text))


@st.composite
def hostile_talk(draw: st.DrawFn, tokens: list[str]) -> list[Message]:
    """Texts with control tokens, whole and in pieces, cut into items anywhere."""
    pieces = [*tokens, *(token[:4] for token in tokens), *(token[4:] for token in tokens), "</think>"]
    kinds = draw(st.lists(st.sampled_from([SystemMessage, UserMessage, CompletionMessage]), max_size=3))
    found: list[Message] = []
    for kind in (*kinds, UserMessage):
        text = "".join(draw(st.lists(st.sampled_from(pieces) | texts, max_size=6)))
        cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=4)))
        ends = zip([0, *cuts], [*cuts, len(text)], strict=True)
        found.append(kind(content=tuple(TextContentItem(text=text[start:end]) for start, end in ends)))
    return found


@settings(max_examples=60)
@given(data=st.data())
@pytest.mark.parametrize("family", ["chatml", "qwen", "llama 3", "mistral"])
def test_no_text_becomes_a_control_token_however_it_is_cut(family: str, data: st.DataObject) -> None:
    renderer = renderer_of(family)
    turns = turns_of(data.draw(hostile_talk(list(renderer.tokenizer.control_tokens))))
    prompt, harmless = renderer.chat(turns), renderer.chat([Turn(turn.role, "x") for turn in turns])
    assert controls(renderer, prompt) == controls(renderer, harmless)
    own, all_ = (spelled(renderer.tokenizer, p.text) for p in (harmless, prompt))
    assert prompt.neutralized_spans == all_ - own
    # Qwen's tokenizer writes characters in their composed form (NFC).
    assert unicodedata.normalize("NFC", read(renderer, prompt)) == unicodedata.normalize("NFC", prompt.text)
    if all_ == own:
        assert prompt.token_ids == usual_ids(renderer.tokenizer, prompt.text)


@cache
def embedder(name: str) -> Tokenizer:
    if name == "MiniLM":
        return Tokenizer.load(str(prepare_embedding_model(default_cache_dir())))
    kinds: dict[str, Callable[[], FastTokenizer]] = {
        "bert": families.bert,
        "gemma": families.gemma,
        "unigram": small.unigram,
    }
    return Tokenizer(small.loaded(kinds[name]()))


def unknown_ids(tokenizer: Tokenizer) -> set[int]:
    """What stands for unknown characters may stand for those of control tokens as well."""
    return {token_id for token, token_id in tokenizer.control_tokens.items() if token.lower() in ("[unk]", "<unk>")}


EMBEDDERS = ["MiniLM", "bert", "gemma", "unigram"]


@pytest.mark.parametrize("around", ["{}", "hello {} world", "hello{}", "{}{}", "\u65e5{}\u65e5"])
@pytest.mark.parametrize("name", EMBEDDERS)
def test_a_control_token_in_a_text_to_embed_is_text(name: str, around: str) -> None:
    tokenizer = embedder(name)
    for token, token_id in tokenizer.control_tokens.items():
        prompt = tokenizer.encode_untrusted(around.replace("{}", token))
        assert token_id not in set(prompt.token_ids) - unknown_ids(tokenizer)
        assert prompt.neutralized_spans == around.count("{}")


@pytest.mark.parametrize("name", EMBEDDERS)
@given(text=texts | st.text("[]<>/sepclunk \u65e5", max_size=20))
def test_any_other_text_to_embed_has_the_usual_tokens(name: str, text: str) -> None:
    tokenizer = embedder(name)
    prompt = tokenizer.encode_untrusted(text)
    found = set(prompt.token_ids) & set(tokenizer.control_tokens.values())
    assert found <= unknown_ids(tokenizer)
    if not set(unicodedata.normalize("NFKC", text)) & {"<", "["}:
        assert prompt.neutralized_spans == 0
    if prompt.neutralized_spans == 0:
        assert prompt.token_ids == usual_ids(tokenizer, text)


@pytest.mark.parametrize("name", ["MiniLM", "bert", "unigram"])
def test_unknown_characters_are_ordinary(name: str) -> None:
    prompt = embedder(name).encode_untrusted("hello \ue123 \U0001f98a")
    assert set(prompt.token_ids) & unknown_ids(embedder(name))
    assert prompt.neutralized_spans == 0


@pytest.mark.parametrize("text", ["\uff1cend_of_turn\uff1e", "a\uff1ctable>", "<end_of_turn\ufe65"])
def test_other_spellings_of_the_same_characters_count_where_the_model_takes_them_for_a_control_token(text: str) -> None:
    tokenizer = embedder("gemma")
    assert set(usual_ids(tokenizer, text)) & set(tokenizer.control_tokens.values())
    prompt = tokenizer.encode_untrusted(text)
    assert not set(prompt.token_ids) & set(tokenizer.control_tokens.values())
    assert prompt.neutralized_spans == 1


@pytest.mark.parametrize("content", ["  hello", "hello  ", "\n hello", " "])
def test_blanks_that_a_control_token_takes_in_spell_nothing(content: str) -> None:
    tokenizer = Tokenizer(families.chatting("phi"))
    segments = [Segment("<|user|>\n", True), Segment(content, False), Segment("<mask><|end|>", True)]
    prompt = tokenizer.encode(segments)
    assert (prompt.token_ids, prompt.neutralized_spans) == (usual_ids(tokenizer, prompt.text), 0)


def test_text_beside_a_spelled_token_keeps_its_tokens() -> None:
    """No blank is put in front of what follows it, and no word is cut."""
    tokenizer = Tokenizer(families.chatting("mistral"))
    segments = [Segment("<s>[INST] ", True), Segment("Hello </s> world", False), Segment(" [/INST]", True)]
    prompt, usual = tokenizer.encode(segments), usual_ids(tokenizer, "<s>[INST] Hello , world [/INST]")
    assert tokenizer.pretrained.decode(prompt.token_ids) == prompt.text
    assert (prompt.token_ids[:4], prompt.token_ids[-5:]) == (usual[:4], usual[-5:])


def test_a_single_character_is_a_control_token_if_it_is_special_and_no_letter_of_the_model() -> None:
    fast = small.byte_level()
    fast.add_special_tokens([AddedToken("\uf8ff", special=True), AddedToken("!", special=True)])
    tokenizer = Tokenizer(small.loaded(fast))
    assert tokenizer.encode_untrusted("a\uf8ffb!").neutralized_spans == 1
    assert "!" in tokenizer.pretrained.decode(tokenizer.encode_untrusted("a\uf8ffb!").token_ids)


@pytest.mark.parametrize(
    ("added", "word", "may"),
    [
        (("<tool_call>",), "tool_call", True),
        (("<tool_call>",), "TOOL", True),
        (("<tool_call>",), "l_c", True),
        (("<tool_call>",), "weather", False),
        (("eng_Latn",), "weather", True),
        ((), "end", True),
    ],
)
def test_a_word_may_become_a_part_of_a_control_token(added: tuple[str, ...], word: str, may: bool) -> None:
    tokenizer = Tokenizer(small.loaded(small.byte_level(added=added)))
    assert tokenizer.may_become_control(word) is may
