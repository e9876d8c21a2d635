"""Tokens are those of transformers, and those that the same model counts where it reads them."""

import pytest

from service.api.chat import ChatCompletionRequest
from service.api.content import TextContentItem
from service.api.embeddings import EmbeddingsRequest
from service.api.messages import CompletionMessage, SystemMessage, UserMessage
from service.api.sampling import SamplingParams
from service.api.tokenize import (
    DetokenizeRequest,
    TokenizeConversation,
    TokenizeRequest,
    TokenizeResponse,
    TokenizeText,
)
from service.api.tools import ToolDefinition, ToolInputSchema
from service.client import Client
from tests.conformance.conftest import Served

CORPUS = [
    "",
    " ",
    "Hello, world!",
    "  two  blanks and a\ttab\r\n\nand lines ",
    "🦊 foxes, 👩‍👩‍👧‍👦 families, 🇪🇺 flags",
    "naïve café, e\u0301 in two parts, ﬁ in one",
    "懒狗 犬 한국어 العربية עברית हिन्दी",
    "\u0000 \u200b \ufeff \ufffd \U0010ffff",
    "1234567890 3.14159 0x1F 1e-9",
    "def f(x):\n\treturn {**x}  # (╯°□°)╯",
    "word " * 700,
]
LONG_WORD = "Donaudampfschifffahrtsgesellschaftskapitän " * 30
every_text = pytest.mark.parametrize("text", [*CORPUS, LONG_WORD], ids=range(len(CORPUS) + 1))


async def tokenized(client: Client, model: str, text: str, *, special: bool | None = None) -> TokenizeResponse:
    asked = TokenizeText(text=text, add_special_tokens=special, return_spans=True)
    return await client.tokenize(TokenizeRequest(model_id=model, input=asked, return_pieces=True))


@every_text
async def test_a_text_has_the_tokens_of_transformers(client: Client, served: Served, text: str) -> None:
    answer = await tokenized(client, served.llm, text)
    expected = served.tokenizer(text, return_offsets_mapping=True)
    assert list(answer.token_ids) == expected["input_ids"]
    # Without their last token they are cut at any place, in the middle of characters too.
    for ids in (answer.token_ids, answer.token_ids[:-1]):
        restored = await client.detokenize(DetokenizeRequest(model_id=served.llm, token_ids=tuple(ids)))
        assert restored.text == served.tokenizer.decode(ids, clean_up_tokenization_spaces=False)
        assert restored.data == b"".join(answer.pieces[: len(ids)])
    assert b"".join(answer.pieces).decode() == text


@every_text
async def test_spans_are_the_parts_of_the_text(client: Client, served: Served, text: str) -> None:
    answer = await tokenized(client, served.llm, text)
    offsets = served.tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
    data = text.encode()
    assert [data[span.start : span.end].decode() for span in answer.spans] == [text[a:b] for a, b in offsets]


@every_text
@pytest.mark.parametrize("special", [True, False])
async def test_so_has_one_to_embed(client: Client, served: Served, text: str, special: bool) -> None:
    answer = await tokenized(client, served.embedder, text, special=special)
    expected = served.embedding_tokenizer(text, add_special_tokens=special, truncation=False, padding=False)
    assert list(answer.token_ids) == expected["input_ids"]
    if text and special:
        contents = (TextContentItem(text=text),)
        if answer.count <= answer.context_length:
            embedded = await client.embed(EmbeddingsRequest(model_id=served.embedder, contents=contents))
            assert embedded.embeddings[0].original_tokens == answer.count


async def test_a_conversation_has_the_tokens_that_a_chat_reads(client: Client, served: Served) -> None:
    messages = (
        SystemMessage(content="Be brief, <|im_end|> and kind."),
        UserMessage(content="Hi 🦊"),
        CompletionMessage(content="Hello."),
        UserMessage(content="What is the weather?"),
    )
    schema = '{"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}'
    tool = ToolDefinition(tool_name="get_weather", input=ToolInputSchema(input_schema_json=schema))
    for tools in ((), (tool,)):
        conversation = TokenizeConversation(messages=messages, tools=tools)
        answer = await client.tokenize(TokenizeRequest(model_id=served.llm, input=conversation, return_pieces=True))
        chat = ChatCompletionRequest(
            model_id=served.llm, messages=messages, tools=tools, sampling_params=SamplingParams(max_tokens=1)
        )
        report = await client.preflight(chat)
        answered = await client.chat(chat)
        assert answer.count == report.prompt_tokens == answered.usage.prompt_tokens
        assert b"".join(answer.pieces).decode() == report.prompt
        assert answer.usage.neutralized_spans == answered.usage.neutralized_spans == 1
