"""The calls of a soak: what is sent, how its answer is checked, and which outcomes explain themselves."""

import asyncio
import json
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import grpc
from jsonschema import Draft202012Validator

from service.api.chat import ChatCompletionRequest
from service.api.completion import CompletionRequest
from service.api.content import TextContentItem
from service.api.embeddings import Embedding, EmbeddingItem, EmbeddingOptions, EmbeddingsRequest
from service.api.events import Complete, Event, Start
from service.api.messages import StopReason, UserMessage
from service.api.response_format import ConstraintOutcome, JsonSchemaResponseFormat, RegexResponseFormat
from service.api.sampling import SamplingParams
from service.api.tools import ToolChoice, ToolConfig, ToolDefinition, ToolInputSchema, ToolPromptFormat
from service.client import Client
from service.errors import DeadlineExceeded, InferwireError, Overloaded
from service.wire.status import error_from_rpc
from tests.benchmarks.call_checks import Demand, joined_answer, problems, whole_answer
from tests.serving import EMBEDDER, LLM

TIMEOUT_S = 300
FEW, ENDLESS = 12, 2000  # tokens
ENOUGH = 100  # tokens for a call or an object
VARIANTS = 200  # of each schema
LONGEST_CANCEL_S, LONGEST_DEADLINE_S = 1.0, 0.5
READ_EVERY_S = 1.0
OK = "OK"
# The checks of schemas and grammars have a queue of their own, which a busy machine may fill.
NO_TIME_TO_CHECK = Overloaded.reason

WORDS = ("river", "stone", "music", "winter", "garden", "light", "paper", "horse", "market", "bridge")
WEATHER_QUESTION, PLACE_QUESTION = "What is the weather in Paris?", "Which city is the Louvre in?"
TOOL = "get_weather"
CALL = json.dumps({"type": "function", "name": TOOL, "parameters": {"city": "Paris"}})
PLACE = json.dumps({"city": "Paris"})
REPLIES = {WEATHER_QUESTION: CALL, PLACE_QUESTION: PLACE}
"""What scripted engines say, which enforce nothing."""


class BrokenPromise(Exception):
    """An answer that isn't what it has to be."""


@dataclass(frozen=True)
class Sender:
    """Who sends calls; `chance` decides all that is left to it."""

    target: str
    client: Client
    channel: grpc.aio.Channel
    chance: random.Random

    def text(self, words: int = 6) -> str:
        return f"Tell me about the {' '.join(self.chance.choices(WORDS, k=words))}."


Send = Callable[[Sender], Awaitable[object]]


@dataclass(frozen=True)
class Kind:
    """A kind of call, and the outcomes that are to be expected of it."""

    name: str
    send: Send
    explained: frozenset[str] = frozenset({OK})
    weight: int = 2


async def outcome_of(kind: Kind, sender: Sender) -> tuple[str, str]:
    """What a call ended with, and a sentence about it for the case that it doesn't explain itself."""
    try:
        await kind.send(sender)
    except InferwireError as error:
        return error.reason, str(error)
    except grpc.aio.AioRpcError as error:
        return error.code().name, error.details() or ""
    except BrokenPromise as broken:
        return "BROKEN_PROMISE", str(broken)
    except Exception as error:  # whatever it is, it is a finding
        return type(error).__name__, repr(error)
    return OK, ""


def chat(text: str, tokens: int = FEW, **fields: Any) -> ChatCompletionRequest:
    usual = {"model_id": LLM, "sampling_params": SamplingParams(max_tokens=tokens)}
    return ChatCompletionRequest(messages=(UserMessage(content=text),), **usual | fields)


def completion(text: str, tokens: int = FEW, **fields: Any) -> CompletionRequest:
    usual = {"model_id": LLM, "sampling_params": SamplingParams(max_tokens=tokens)}
    return CompletionRequest(content=text, **usual | fields)


def lasting(sender: Sender) -> ChatCompletionRequest:
    """Generates for so long that something else ends it."""
    return chat(sender.text(), sampling_params=SamplingParams(max_tokens=ENDLESS, min_tokens=ENDLESS))


def demand_that(holds: bool, otherwise: str) -> None:
    if not holds:
        raise BrokenPromise(otherwise)


async def checked(events: AsyncGenerator[Event, None]) -> AsyncIterator[Event]:
    """The same events, once it is certain that they are numbered and have a beginning and an end."""
    came: list[Event] = []
    async with aclosing(events):
        async for event in events:
            demand_that(event.sequence == len(came), f"event {len(came)} has the number {event.sequence}")
            came.append(event)
            yield event
    kinds = [isinstance(came[0], Start), *(not isinstance(event, Start | Complete) for event in came[1:-1])]
    demand_that(all(kinds) and isinstance(came[-1], Complete), f"the stream is {came}")


async def read_all(events: AsyncGenerator[Event, None]) -> None:
    async for _ in checked(events):
        pass


async def stream_chat(sender: Sender) -> None:
    await read_all(sender.client.stream_chat(chat(sender.text()), timeout_s=TIMEOUT_S))


async def unary_chat(sender: Sender) -> None:
    answer = await sender.client.chat(chat(sender.text()), timeout_s=TIMEOUT_S)
    demand_that(0 < answer.usage.completion_tokens <= FEW, f"{answer.usage} for {FEW} tokens at most")


async def stream_completion(sender: Sender) -> None:
    await read_all(sender.client.stream_completion(completion(sender.text()), timeout_s=TIMEOUT_S))


async def unary_completion(sender: Sender) -> None:
    answer = await sender.client.complete(completion(sender.text()), timeout_s=TIMEOUT_S)
    demand_that(0 < answer.usage.completion_tokens <= FEW, f"{answer.usage} for {FEW} tokens at most")


def schema(sender: Sender) -> dict[str, Any]:
    """One of many, which the server has to compile each."""
    optional = f"note_{sender.chance.randrange(VARIANTS)}"
    return {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 12}, optional: {"type": "boolean"}},
        "required": ["city"],
        "additionalProperties": False,
    }


async def structured(sender: Sender) -> None:
    asked = schema(sender)
    shape = JsonSchemaResponseFormat(json_schema=json.dumps(asked))
    request = chat(PLACE_QUESTION, ENOUGH, response_format=shape)
    answer = await sender.client.chat(request, timeout_s=TIMEOUT_S)
    text = str(answer.completion_message.content)
    if answer.constraint_outcome is ConstraintOutcome.SATISFIED:
        demand_that(Draft202012Validator(asked).is_valid(json.loads(text)), f"{text} does not fit {asked}")
    else:
        cut = answer.completion_message.stop_reason is StopReason.OUT_OF_TOKENS
        demand_that(cut, f"{text} is {answer.constraint_outcome}")


async def tool_call(sender: Sender) -> None:
    asked = schema(sender)
    request = chat(
        WEATHER_QUESTION,
        ENOUGH,
        tools=(ToolDefinition(tool_name=TOOL, input=ToolInputSchema(input_schema_json=json.dumps(asked))),),
        tool_config=ToolConfig(
            tool_choice=ToolChoice.REQUIRED, tool_prompt_format=ToolPromptFormat.JSON, parallel_tool_calls=False
        ),
    )
    if sender.chance.random() < 0.5:
        answer = await joined_answer(checked(sender.client.stream_chat(request, timeout_s=TIMEOUT_S)))
    else:
        answer = whole_answer(await sender.client.chat(request, timeout_s=TIMEOUT_S))
    found = problems(answer, Demand({TOOL: asked}, ToolPromptFormat.JSON, one_call=True))
    demand_that(not found, "; ".join(found))


def embeddings(*texts: str, **fields: Any) -> EmbeddingsRequest:
    contents = tuple(TextContentItem(text=text) for text in texts)
    return EmbeddingsRequest(contents=contents, **{"model_id": EMBEDDER} | fields)


async def embed(sender: Sender) -> None:
    texts = [sender.text(sender.chance.randint(1, 20)) for _ in range(sender.chance.randint(1, 64))]
    answer = await sender.client.embed(embeddings(*texts), timeout_s=TIMEOUT_S)
    demand_that(len(answer.embeddings) == len(texts), f"{len(answer.embeddings)} vectors for {len(texts)} texts")


async def embed_in_bulk(sender: Sender) -> None:
    texts = [sender.text() for _ in range(sender.chance.randint(1, 64))]
    bulk = sender.client.stream_embed(EmbeddingOptions(model_id=EMBEDDER), numbered(texts), timeout_s=TIMEOUT_S)
    results = [result async for result in bulk]
    answered = {result.id for result in results if isinstance(result.outcome, Embedding)}
    demand_that(len(answered) == len(results) == len(texts), f"{len(answered)} vectors for {len(texts)} texts")


async def numbered(texts: Sequence[str]) -> AsyncIterator[EmbeddingItem]:
    for number, text in enumerate(texts):
        yield EmbeddingItem(id=str(number), content=TextContentItem(text=text))


async def preflight(sender: Sender) -> None:
    report = await sender.client.preflight(chat(sender.text()), timeout_s=TIMEOUT_S)
    demand_that(not report.violations, f"it would be refused: {report.violations}")


async def models(sender: Sender) -> None:
    await sender.client.model(LLM, timeout_s=TIMEOUT_S)
    listed = {model.identifier for model in await sender.client.models(timeout_s=TIMEOUT_S)}
    demand_that({LLM, EMBEDDER} <= listed, f"the models are {listed}")


async def cancelled(sender: Sender) -> None:
    sends = (
        lambda: read_all(sender.client.stream_chat(lasting(sender))),
        lambda: sender.client.chat(lasting(sender)),
        lambda: sender.client.embed(embeddings(*[sender.text(20)] * 64)),
    )
    task = asyncio.ensure_future(sender.chance.choice(sends)())
    await asyncio.wait([task], timeout=sender.chance.uniform(0, LONGEST_CANCEL_S))
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()


async def late(sender: Sender) -> None:
    await read_all(
        sender.client.stream_chat(lasting(sender), timeout_s=sender.chance.uniform(0.01, LONGEST_DEADLINE_S))
    )


async def slow_reader(sender: Sender) -> None:
    async for _ in checked(sender.client.stream_chat(chat(sender.text(), tokens=6), timeout_s=TIMEOUT_S)):
        await asyncio.sleep(READ_EVERY_S)


async def vanish(sender: Sender) -> None:
    """Closes the connection amid a stream, and without a word to the call."""
    async with Client(sender.target) as client, aclosing(client.stream_chat(lasting(sender))) as events:
        for _ in range(sender.chance.randint(1, 4)):
            await anext(events)
        await client.close()


async def new_connection(sender: Sender) -> None:
    async with Client(sender.target) as client:
        await client.complete(completion(sender.text(), 1), timeout_s=TIMEOUT_S)


async def bytes_that_are_no_message(sender: Sender) -> None:
    send = sender.channel.unary_unary("/inferwire.v1.InferenceService/ChatCompletion")
    try:
        await send(b"\xff" * sender.chance.randint(1, 1000), timeout=TIMEOUT_S)
    except grpc.aio.AioRpcError as failure:
        raise error_from_rpc(failure) or failure from failure


def refused(name: str, reason: str, send: Send) -> Kind:
    """Wrong, and told so for this reason and no other."""
    return Kind(f"refused: {name}", send, frozenset({reason}), weight=1)


KINDS: Sequence[Kind] = (
    Kind("chat, streamed", stream_chat, weight=6),
    Kind("chat", unary_chat, weight=4),
    Kind("completion, streamed", stream_completion, weight=4),
    Kind("completion", unary_completion, weight=4),
    Kind("JSON schema", structured, frozenset({OK, NO_TIME_TO_CHECK})),
    Kind("tool call", tool_call, frozenset({OK, NO_TIME_TO_CHECK})),
    Kind("embeddings", embed, weight=4),
    Kind("embeddings in bulk", embed_in_bulk),
    Kind("preflight", preflight),
    Kind("models", models),
    Kind("cancelled", cancelled, weight=4),
    Kind("deadline", late, frozenset({DeadlineExceeded.reason}), weight=3),
    Kind("slow reader", slow_reader, weight=1),
    Kind("vanished", vanish),
    Kind("new connection", new_connection),
    refused("no such model", "MODEL_NOT_FOUND", lambda s: s.client.chat(chat("Hi", model_id="none"))),
    refused("wrong type of model", "WRONG_MODEL_TYPE", lambda s: s.client.embed(embeddings("Hi", model_id=LLM))),
    refused("too long", "CONTEXT_LENGTH_EXCEEDED", lambda s: s.client.complete(completion("word " * 9_000))),
    refused(
        "not an expression",
        "INVALID_CONSTRAINT",
        lambda s: s.client.chat(chat("Hi", response_format=RegexResponseFormat(pattern="(a"))),
    ),
    refused("not a message", "MALFORMED_MESSAGE", bytes_that_are_no_message),
)
