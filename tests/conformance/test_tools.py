"""Tool calls on the real model: enforced in each format, and read as they come."""

import asyncio
import json
from typing import Any

import pytest

from service.api.chat import ChatCompletionRequest
from service.api.messages import CompletionMessage, Message, StopReason, ToolResponseMessage, UserMessage
from service.api.response_format import ConstraintOutcome, JsonSchemaResponseFormat
from service.api.sampling import TopPSamplingStrategy
from service.api.tools import (
    NamedToolChoice,
    ToolCall,
    ToolCallVerdict,
    ToolChoice,
    ToolConfig,
    ToolDefinition,
    ToolInputSchema,
    ToolParamDefinition,
    ToolParameters,
    ToolPromptFormat,
)
from service.client import Client
from tests.benchmarks.call_checks import CallAnswer, Demand, call_problems, joined_answer, problems, whole_answer
from tests.benchmarks.enforced_calls import CHOICES, Case
from tests.conformance.calls import chat

every_format = pytest.mark.parametrize("dialect", ToolPromptFormat)

UNITS = ["celsius", "fahrenheit"]
WEATHER_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"enum": ["Paris", "Rome"]}, "unit": {"enum": UNITS}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER = ToolDefinition(
    tool_name="get_weather",
    description="Tells the weather in a city.",
    input=ToolInputSchema(input_schema_json=json.dumps(WEATHER_SCHEMA)),
)
ALARM = ToolDefinition(
    tool_name="set_alarm",
    description="Sets an alarm.",
    input=ToolParameters(parameters=(ToolParamDefinition(name="loud", param_type="bool"),)),
)
SCHEMAS = {
    "get_weather": WEATHER_SCHEMA,
    "set_alarm": {"type": "object", "properties": {"loud": {"type": "boolean"}}, "required": ["loud"]},
}
VERDICT = '{"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}'
QUESTION = UserMessage(content="What is the weather in Paris?")


def request(dialect: ToolPromptFormat, choice: Any, *messages: Message, **options: Any) -> ChatCompletionRequest:
    several = options.pop("parallel_tool_calls", None)
    config = ToolConfig(tool_choice=choice, tool_prompt_format=dialect, parallel_tool_calls=several)
    made = chat(*(messages or (QUESTION,)), **{"max_tokens": 64, **options})
    return made.model_copy(update={"tools": (WEATHER, ALARM), "tool_config": config})


async def both(client: Client, asked: ChatCompletionRequest) -> list[CallAnswer]:
    """The answer, and the same streamed."""
    once, again = await asyncio.gather(client.chat(asked), joined_answer(client.stream_chat(asked)))
    return [whole_answer(once), again]


@pytest.mark.real_model
class TestOnTheRealModel:
    @pytest.fixture
    def client(self, real_client: Client) -> Client:
        return real_client

    @every_format
    async def test_random_tools_are_called_as_they_want_to_be(self, client: Client, dialect: ToolPromptFormat) -> None:
        """With budgets that suffice and one that doesn't: each call is complete and valid, or said to be truncated."""
        cases = [Case(seed, dialect, choice, 8 if seed == 2 else 64) for seed in (1, 2) for choice in CHOICES]
        answers = await asyncio.gather(*(both(client, case.request) for case in cases))
        for case, found in zip(cases, answers, strict=True):
            for answer in found:
                assert problems(answer, case.demand) == [], case
        assert any(answer.count(ToolCallVerdict.TRUNCATED) for found in answers for answer in found)

    @every_format
    async def test_one_call_where_several_are_not_wanted(self, client: Client, dialect: ToolPromptFormat) -> None:
        asked = request(dialect, ToolChoice.REQUIRED, parallel_tool_calls=False)
        for found in await both(client, asked):
            assert problems(found, Demand(SCHEMAS, dialect, one_call=True)) == []
            assert found.stop_reason is StopReason.END_OF_MESSAGE

    @every_format
    async def test_a_named_tool_is_called_once(self, client: Client, dialect: ToolPromptFormat) -> None:
        for found in await both(client, request(dialect, NamedToolChoice(tool_name="set_alarm"))):
            demand = Demand({"set_alarm": SCHEMAS["set_alarm"]}, dialect, one_call=True)
            assert problems(found, demand) == []
            assert [call.tool_name for call in found.calls] == ["set_alarm"]

    @every_format
    async def test_a_model_is_free_to_answer_with_text(self, client: Client, dialect: ToolPromptFormat) -> None:
        asked = request(dialect, ToolChoice.AUTO, UserMessage(content="Hello!"), max_tokens=24)
        for found in await both(client, asked):
            assert found.text or found.calls
            assert [problem for call in found.calls for problem in call_problems(call, SCHEMAS)] == []

    @every_format
    async def test_a_text_of_the_asked_format_or_a_call(self, client: Client, dialect: ToolPromptFormat) -> None:
        asked = request(dialect, ToolChoice.AUTO, response_format=JsonSchemaResponseFormat(json_schema=VERDICT))
        answer = await client.chat(asked)
        found = whole_answer(answer)
        if found.calls:
            assert problems(found, Demand(SCHEMAS, dialect, one_call=False)) == []
            assert answer.constraint_outcome is None
        else:
            assert answer.constraint_outcome is ConstraintOutcome.SATISFIED
            assert "ok" in json.loads(found.text)

    @every_format
    async def test_the_answer_of_a_tool_goes_back_to_the_model(self, client: Client, dialect: ToolPromptFormat) -> None:
        first = await client.chat(request(dialect, NamedToolChoice(tool_name="get_weather")))
        (call,) = first.completion_message.tool_calls
        assert call.verdict is ToolCallVerdict.COMPLETE
        told = ToolResponseMessage(call_id=call.call_id, tool_name=call.tool_name, content="sunny, 21 degrees")
        history = (QUESTION, first.completion_message, told)
        free, forced = await asyncio.gather(
            client.chat(request(dialect, ToolChoice.AUTO, *history, max_tokens=24)),
            client.chat(request(dialect, ToolChoice.REQUIRED, *history, parallel_tool_calls=False)),
        )
        assert free.usage.prompt_tokens > first.usage.prompt_tokens
        assert free.completion_message.content or free.completion_message.tool_calls
        assert problems(whole_answer(forced), Demand(SCHEMAS, dialect, one_call=True)) == []

    async def test_seeds_and_long_prompts_go_together(self, client: Client) -> None:
        """Two prompts that don't fit into one step of the engine, so that one of them is computed in pieces."""
        text = "time river stone music " * 1040
        asked = [
            chat(f"{number} {text}", max_tokens=2, seed=number, strategy=TopPSamplingStrategy()) for number in range(2)
        ]
        found = await asyncio.gather(*(client.chat(one) for one in asked))
        assert sum(answer.usage.prompt_tokens for answer in found) > 8192


class TestOnEveryEngine:
    @every_format
    async def test_nothing_is_called_where_nothing_may_be(self, client: Client, dialect: ToolPromptFormat) -> None:
        asked = request(dialect, ToolChoice.NONE, max_tokens=16)
        plain = await client.chat(chat(QUESTION, max_tokens=16))
        for found in await both(client, asked):
            assert found.calls == []
            assert found.text == plain.completion_message.content

    @every_format
    async def test_calls_of_the_history_are_told(self, client: Client, dialect: ToolPromptFormat) -> None:
        call = ToolCall(call_id="1", tool_name="get_weather", arguments_json='{"city": "Paris"}')
        said = CompletionMessage(content="", tool_calls=(call,))
        told = ToolResponseMessage(call_id="1", content="sunny")
        short = await client.chat(request(dialect, ToolChoice.AUTO, max_tokens=4))
        whole = await client.chat(request(dialect, ToolChoice.AUTO, QUESTION, said, told, max_tokens=4))
        assert whole.usage.prompt_tokens > short.usage.prompt_tokens + 10
