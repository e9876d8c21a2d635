"""What of a conversation reaches the model, and what it costs."""

import pytest

from service.api.messages import CompletionMessage, Message, SystemMessage, ToolResponseMessage, UserMessage
from service.api.response_format import ChoiceResponseFormat
from service.api.sampling import TokenLogProbs
from service.client import Client
from tests.conformance.calls import answer, chat, completion
from tests.conformance.conftest import Served

HELPFUL, SHORT = SystemMessage(content="You are helpful."), SystemMessage(content="Be short.")
ASKED, TOLD = UserMessage(content="Is it raining?"), CompletionMessage(content="Let me look.")
LOOKED = ToolResponseMessage(call_id="1", content="sunny")
CONVERSATIONS = {
    "a question": ((ASKED,), [("user", "Is it raining?")]),
    "a system message": ((HELPFUL, ASKED), [("system", "You are helpful."), ("user", "Is it raining?")]),
    "system messages are joined at the head": (
        (HELPFUL, ASKED, TOLD, SHORT, ASKED),
        [
            ("system", "You are helpful.\nBe short."),
            ("user", "Is it raining?"),
            ("assistant", "Let me look."),
            ("user", "Is it raining?"),
        ],
    ),
    "a context": (
        (UserMessage(content="What colour?", context="The car is blue."),),
        [("user", "What colour?\n\nThe car is blue.")],
    ),
    "a tool's answer": (
        (ASKED, TOLD, LOOKED, UserMessage(content="So?")),
        [("user", "Is it raining?"), ("assistant", "Let me look."), ("tool", "sunny"), ("user", "So?")],
    ),
}


@pytest.mark.parametrize(("messages", "turns"), CONVERSATIONS.values(), ids=CONVERSATIONS)
async def test_a_prompt_has_as_many_tokens_as_the_template_makes(
    client: Client, served: Served, messages: tuple[Message, ...], turns: list[tuple[str, str]]
) -> None:
    found = await answer(client, chat(*messages, max_tokens=1))
    assert found.usage.prompt_tokens == served.prompt_tokens([{"role": r, "content": c} for r, c in turns])


@pytest.mark.real_model
class TestOnTheRealModel:
    @pytest.fixture
    def client(self, real_client: Client) -> Client:
        return real_client

    async def test_a_follow_up_is_answered_from_the_history(self, client: Client) -> None:
        for name in ("Alice", "Bob"):
            greeting = (f"Hello, my name is {name}.", CompletionMessage(content=f"Hello {name}, nice to meet you!"))
            question = chat(*greeting, "What is my name?", max_tokens=8, response_format=_either("Alice", "Bob"))
            assert (await answer(client, question)).text == name

    async def test_a_context_is_read(self, client: Client) -> None:
        for colour in ("blue", "green"):
            message = UserMessage(content="Which colour has the car?", context=f"The car is {colour}.")
            question = chat(message, max_tokens=8, response_format=_either("blue", "green"))
            assert (await answer(client, question)).text == colour

    async def test_system_messages_and_tool_answers_sway_the_model(self, client: Client) -> None:
        question = UserMessage(content="What is the weather in one word?")
        instruction, result = "The weather is always {}.", "The weather today: {}."
        for conversation in (
            lambda weather: (HELPFUL, SystemMessage(content=instruction.format(weather)), question),
            lambda weather: (
                question,
                TOLD,
                ToolResponseMessage(call_id="1", content=result.format(weather)),
                question,
            ),
        ):
            sunny, rainy = [
                (await answer(client, _asked_for_weather(conversation(weather)))).logprobs[0]
                for weather in ("sunny", "rainy")
            ]
            assert _share_of(b"s", sunny) > _share_of(b"s", rainy)

    @pytest.mark.parametrize("streamed", [False, True], ids=["unary", "streamed"])
    async def test_a_long_prompt_comes_from_the_cache_the_second_time(self, client: Client, streamed: bool) -> None:
        # One token apart from the other case's prompt, from the start on.
        text = f"{streamed} story: " + "the river runs past the old stone bridge and the market. " * 40
        first = await answer(client, completion(text, max_tokens=2))
        second = await answer(client, completion(text, max_tokens=2))
        assert first.usage.prompt_tokens > 256
        assert first.usage.cached_tokens == 0
        assert 0 < second.usage.cached_tokens < second.usage.prompt_tokens
        assert second.text == first.text


def _either(*choices: str) -> ChoiceResponseFormat:
    return ChoiceResponseFormat(choices=choices)


def _asked_for_weather(messages: tuple[Message, ...]):  # type: ignore[no-untyped-def]
    return chat(*messages, max_tokens=4, top_logprobs=20, response_format=_either("sunny", "rainy"))


def _share_of(beginning: bytes, position: TokenLogProbs) -> float:
    """The best log probability of a first token that begins so."""
    return max(token.logprob for token in position.top if token.token_bytes.startswith(beginning))
