"""Thinking on the real vLLM: the bundled model, given marks and a template that opens the thoughts.

It makes no sense of them; what holds is the limit, and what is demanded of the answer behind it.
"""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from service.api.chat import ChatCompletionRequest, ChatCompletionResponse, ReasoningConfig
from service.api.content import ReasoningDelta, TextDelta
from service.api.events import Complete, Progress
from service.api.messages import CompletionMessage, UserMessage
from service.api.response_format import ConstraintOutcome, JsonSchemaResponseFormat
from service.api.sampling import LogProbConfig, SamplingParams
from service.api.tools import (
    ToolCallVerdict,
    ToolChoice,
    ToolConfig,
    ToolDefinition,
    ToolInputSchema,
)
from service.client import Client
from service.prompts.renderer import Renderer
from service.prompts.tokenizer import Tokenizer
from tests.serving import bundled_models, server_process, settings_file

pytestmark = pytest.mark.real_model

THINKER = "thinker"
MARKS = {"<repo_name>": "<think>", "<reponame>": "</think>"}
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.reasoning_content %}"
    "<think>\n{{ m.reasoning_content }}\n</think>\n\n{% endif %}{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n"
    "{% if enable_thinking is defined and not enable_thinking %}\n</think>\n\n{% endif %}{% endif %}"
)
SCHEMA = '{"type": "object", "properties": {"city": {"enum": ["Paris", "Rome"]}}, "required": ["city"]}'
ARGUMENTS = '{"type": "object", "properties": {"days": {"enum": [1, 3]}}, "required": ["days"]}'
TOOL = ToolDefinition(tool_name="weather", input=ToolInputSchema(input_schema_json=ARGUMENTS))
QUESTION = "Where is the Louvre?"
BUDGET = 12
END = 2
"""The bundled model's token for the end of a message."""


@pytest.fixture(scope="module")
def thinking_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / THINKER
    shutil.copytree(bundled_models()[0]["path"], folder)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    for token in tokenizer["added_tokens"]:
        token["content"] = MARKS.get(token["content"], token["content"])
    vocabulary = tokenizer["model"]["vocab"]
    tokenizer["model"]["vocab"] = {MARKS.get(piece, piece): number for piece, number in vocabulary.items()}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


@pytest.fixture(scope="module")
def thinker(thinking_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("thinking-server")
    model = {"path": str(thinking_model), "id": THINKER, "reasoning_parser": "deepseek_r1"}
    with server_process(folder, "--config", settings_file(folder, [model])) as server:
        server.wait_until_serving()
        yield server.target


@pytest.fixture
async def client(thinker: str) -> AsyncIterator[Client]:
    async with Client(thinker) as client:
        yield client


def asked(config: ReasoningConfig | None = None, *, max_tokens: int = 60, **fields: Any) -> ChatCompletionRequest:
    # By itself the model would end its message here, and be led to its answer at once.
    sampling = SamplingParams(**{"max_tokens": max_tokens, "logit_bias": {END: -100}, **fields.pop("sampling", {})})
    return ChatCompletionRequest(
        **{
            "model_id": THINKER,
            "messages": (UserMessage(content=QUESTION),),
            "sampling_params": sampling,
            "reasoning": config or ReasoningConfig(max_tokens=BUDGET),
            **fields,
        }
    )


def text_of(answer: ChatCompletionResponse) -> str:
    assert isinstance(answer.completion_message.content, str)
    return answer.completion_message.content


async def idle_soon(client: Client) -> bool:
    """Whether the engine gets rid of calls that were left."""
    for _ in range(300):
        if not (await client.load()).models[0].running_requests:
            return True
        await asyncio.sleep(0.1)
    return False


async def test_the_model_says_that_it_thinks(client: Client) -> None:
    capabilities = (await client.model(THINKER)).capabilities
    assert (capabilities.reasoning, capabilities.reasoning_switch) == (True, True)


async def test_a_schema_holds_behind_thoughts_that_were_broken_off(client: Client) -> None:
    answer = await client.chat(asked(response_format=JsonSchemaResponseFormat(json_schema=SCHEMA)))
    assert answer.constraint_outcome is ConstraintOutcome.SATISFIED
    assert json.loads(text_of(answer))["city"] in ("Paris", "Rome")
    assert answer.completion_message.reasoning
    assert answer.reasoning_truncated
    assert answer.usage.reasoning_tokens == BUDGET
    assert answer.usage.completion_tokens > BUDGET


async def test_a_stream_tells_the_same(client: Client) -> None:
    request = asked(response_format=JsonSchemaResponseFormat(json_schema=SCHEMA))
    whole = await client.chat(request)
    thoughts = texts = ""
    async with aclosing(client.stream_chat(request)) as events:
        async for event in events:
            match event:
                case Progress(delta=ReasoningDelta(text=text)):
                    assert not texts
                    thoughts += text
                case Progress(delta=TextDelta(text=text)):
                    texts += text
                case Complete():
                    assert event.reasoning_truncated
                    assert event.usage.reasoning_tokens == BUDGET
                    assert event.usage.completion_tokens == whole.usage.completion_tokens
    assert (thoughts, texts) == (whole.completion_message.reasoning, text_of(whole))


async def test_a_call_is_enforced_behind_thoughts(client: Client) -> None:
    answer = await client.chat(
        asked(
            max_tokens=BUDGET + 60,
            tools=(TOOL,),
            tool_config=ToolConfig(tool_choice=ToolChoice.REQUIRED, parallel_tool_calls=False),
        )
    )
    assert answer.completion_message.reasoning
    calls = answer.completion_message.tool_calls
    assert {call.verdict for call in calls} == {ToolCallVerdict.COMPLETE}
    assert {call.tool_name for call in calls} == {"weather"}


async def test_hidden_thoughts_cost_the_same(client: Client) -> None:
    shown = await client.chat(asked())
    hidden = await client.chat(asked(ReasoningConfig(max_tokens=BUDGET, hidden=True)))
    assert (hidden.completion_message.reasoning, text_of(hidden)) == ("", text_of(shown))
    assert hidden.usage.reasoning_tokens == shown.usage.reasoning_tokens == BUDGET
    assert hidden.usage.completion_tokens == shown.usage.completion_tokens


async def test_thoughts_that_the_model_ends_are_not_truncated(client: Client, thinking_model: Path) -> None:
    end = Tokenizer.load(str(thinking_model)).control_tokens["</think>"]
    answer = await client.chat(
        asked(sampling={"logit_bias": {end: 100}}, response_format=JsonSchemaResponseFormat(json_schema=SCHEMA))
    )
    assert (answer.completion_message.reasoning, answer.usage.reasoning_tokens) == ("", 1)
    assert not answer.reasoning_truncated
    assert answer.constraint_outcome is ConstraintOutcome.SATISFIED


async def test_a_message_that_ends_in_the_thoughts_has_an_answer_all_the_same(client: Client) -> None:
    answer = await client.chat(
        asked(sampling={"logit_bias": {END: 100}}, response_format=JsonSchemaResponseFormat(json_schema=SCHEMA))
    )
    assert (answer.completion_message.reasoning, answer.usage.reasoning_tokens) == ("", 1)
    assert not answer.reasoning_truncated
    assert answer.constraint_outcome is ConstraintOutcome.SATISFIED


async def test_log_probabilities_are_those_of_the_answer(client: Client) -> None:
    answer = await client.chat(asked(max_tokens=BUDGET + 8, logprobs=LogProbConfig(top_k=1)))
    told = b"".join(position.token.token_bytes for position in answer.logprobs)
    assert told.decode(errors="ignore") == text_of(answer)
    assert 0 < len(answer.logprobs) <= 8


async def test_thinking_that_is_switched_off(client: Client) -> None:
    answer = await client.chat(asked(ReasoningConfig(enabled=False), max_tokens=8))
    assert (answer.completion_message.reasoning, answer.usage.reasoning_tokens) == ("", 0)
    assert text_of(answer)


async def test_earlier_thoughts_reach_the_prompt(client: Client, thinking_model: Path) -> None:
    history = (
        UserMessage(content=QUESTION),
        CompletionMessage(content="Paris.", reasoning="A museum, </think> I know."),
        UserMessage(content="Sure?"),
    )
    report = await client.preflight(asked(messages=history))
    assert "<think>\nA museum, </think> I know.\n</think>\n\nParis." in report.prompt
    assert report.neutralized_spans == 1
    assert Renderer(Tokenizer.load(str(thinking_model))).reasoning is not None


async def test_many_think_at_once_and_some_are_left(client: Client) -> None:
    async def left() -> None:
        async with aclosing(client.stream_chat(asked(ReasoningConfig(), max_tokens=2000))) as events:
            async for event in events:
                if isinstance(event, Progress):
                    return

    schema = JsonSchemaResponseFormat(json_schema=SCHEMA)
    answers = [client.chat(asked(response_format=schema)) for _ in range(6)]
    *whole, _, _ = await asyncio.gather(*answers, left(), left())
    assert {answer.constraint_outcome for answer in whole if answer} == {ConstraintOutcome.SATISFIED}
    assert await idle_soon(client)
