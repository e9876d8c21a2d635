"""A tour of Inferwire from Python, with the generated stubs alone: see README.md.

python tour.py TARGET [PART ...]    parts: chat tools structured embeddings deadline cancel errors retry
"""

import asyncio
import json
import struct
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from inferwire.v1.chat_pb2 import RESPONSE_EVENT_TYPE_COMPLETE, RESPONSE_EVENT_TYPE_PROGRESS, ChatCompletionRequest
from inferwire.v1.content_pb2 import InterleavedContent, InterleavedContentItem
from inferwire.v1.embeddings_pb2 import (
    EMBEDDING_ENCODING_FLOAT32,
    ItemError,
    StreamEmbeddingsItem,
    StreamEmbeddingsOptions,
    StreamEmbeddingsRequest,
)
from inferwire.v1.inference_service_pb2_grpc import InferenceServiceStub
from inferwire.v1.messages_pb2 import Message, StopReason, ToolResponseMessage, UserMessage
from inferwire.v1.response_format_pb2 import CONSTRAINT_OUTCOME_SATISFIED, JsonSchemaResponseFormat, ResponseFormat
from inferwire.v1.sampling_pb2 import SamplingParams
from inferwire.v1.tools_pb2 import (
    TOOL_CALL_VERDICT_COMPLETE,
    TOOL_CHOICE_NONE,
    TOOL_CHOICE_REQUIRED,
    ToolConfig,
    ToolDefinition,
    ToolName,
)

CHAT_MODEL = "smollm2-135m-instruct"
EMBEDDING_MODEL = "all-minilm-l6-v2"

# Generation has no side effects, so every call may be sent again. gRPC does so by itself, after the time that the
# server told (grpc-retry-pushback-ms) or else these pauses. CANCELLED, not by the caller, is what a call may meet that
# arrives just as a server ends.
SERVICE_CONFIG = """{
  "methodConfig": [{
    "name": [{"service": "inferwire.v1.InferenceService"}],
    "retryPolicy": {
      "maxAttempts": 4,
      "initialBackoff": "0.1s",
      "maxBackoff": "2s",
      "backoffMultiplier": 2,
      "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"]
    }
  }]
}"""

WEATHER_SCHEMA = """{
  "type": "object",
  "properties": {"city": {"type": "string"}, "unit": {"enum": ["celsius", "fahrenheit"]}},
  "required": ["city", "unit"]
}"""

CITY_SCHEMA = """{
  "type": "object",
  "properties": {
    "name": {"type": "string", "maxLength": 20},
    "continent": {"enum": ["Africa", "America", "Asia", "Europe", "Oceania"]},
    "capital": {"type": "boolean"}
  },
  "required": ["name", "continent", "capital"]
}"""

TEXTS = {
    "question": "How do plants make food?",
    "plants": "Leaves turn sunlight, water and carbon dioxide into sugar.",
    "volcanoes": "Molten rock rises through the crust and erupts as lava.",
    "bread": "Yeast makes the dough rise before it goes into the oven.",
    "empty": "",
}


@dataclass(frozen=True)
class Weather:
    """The arguments of the tool."""

    city: str
    unit: str


@dataclass(frozen=True)
class City:
    """What the model is asked to fill in."""

    name: str
    continent: str
    capital: bool


async def chat(stub: InferenceServiceStub) -> None:
    """The answer as it is written."""
    print("chat: ", end="")
    async for chunk in stub.StreamChatCompletion(question("What is the capital of France?")):
        print(chunk.event.delta.text.text, end="", flush=True)
        if chunk.event.event_type == RESPONSE_EVENT_TYPE_COMPLETE:
            print(f"\nchat: {StopReason.Name(chunk.event.stop_reason)}, {chunk.usage.completion_tokens} tokens")


async def tools(stub: InferenceServiceStub) -> None:
    """The model asks for a tool, gets what the tool says, and answers."""
    request = question("What is the weather in Paris, in celsius?")
    request.tools.append(
        ToolDefinition(
            tool_name=ToolName(custom="get_weather"),
            description="The weather of a city",
            input_schema_json=WEATHER_SCHEMA,
        )
    )
    request.tool_config.CopyFrom(ToolConfig(choice=TOOL_CHOICE_REQUIRED, parallel_tool_calls=False))
    asked = (await stub.ChatCompletion(request)).completion_message
    request.messages.append(Message(assistant=asked))
    for call in asked.tool_calls:
        assert call.verdict == TOOL_CALL_VERDICT_COMPLETE, call.problem
        weather = Weather(**json.loads(call.arguments_json))
        print(f"tools: {call.tool_name.custom} of {weather.city} in {weather.unit}")
        answer = ToolResponseMessage(call_id=call.call_id, content=text("It is 18 degrees Celsius and sunny in Paris."))
        request.messages.append(Message(tool=answer))
    request.tool_config.choice = TOOL_CHOICE_NONE
    answered = await stub.ChatCompletion(request)
    print(f"tools: {answered.completion_message.content.text}")


async def structured(stub: InferenceServiceStub) -> None:
    """JSON that fits a schema, as an object of a type of ours."""
    request = question("Describe the city of Nairobi.")
    request.response_format.CopyFrom(ResponseFormat(json_schema=JsonSchemaResponseFormat(json_schema=CITY_SCHEMA)))
    answer = await stub.ChatCompletion(request)
    assert answer.constraint_outcome == CONSTRAINT_OUTCOME_SATISFIED
    city = City(**json.loads(answer.completion_message.content.text))
    print(f"structured: {city.name}, {city.continent}, {'capital' if city.capital else 'no capital'}")


async def embeddings(stub: InferenceServiceStub) -> None:
    """Many texts on one stream, answered in any order, each with a vector or an error of its own."""
    vectors: dict[str, tuple[float, ...]] = {}
    async for result in stub.StreamEmbeddings(bulk()):
        if result.HasField("error"):
            print(f"embeddings: {result.id}: {Refusal.of_item(result.error)}")
        else:
            packed = result.embedding.packed
            vectors[result.id] = struct.unpack(f"<{len(packed) // 4}f", packed)
    sought = vectors.pop("question")
    closest = max(vectors, key=lambda id: dot(vectors[id], sought))
    print(f"embeddings: {len(sought)} dimensions, the closest of {len(vectors)} is {closest}")


async def bulk() -> AsyncIterator[StreamEmbeddingsRequest]:
    """gRPC asks for the next message while results arrive, and no faster than the server reads."""
    options = StreamEmbeddingsOptions(model_id=EMBEDDING_MODEL, encoding=EMBEDDING_ENCODING_FLOAT32)
    yield StreamEmbeddingsRequest(options=options)
    for id, content in TEXTS.items():
        item = StreamEmbeddingsItem(id=id, content=InterleavedContentItem(text=content))
        yield StreamEmbeddingsRequest(item=item)


async def deadline(stub: InferenceServiceStub) -> None:
    """A call that may take no longer than 0.2 s, queueing included."""
    try:
        await stub.ChatCompletion(long_story(), timeout=0.2)
    except grpc.aio.AioRpcError as error:
        print(f"deadline: {error.code().name}")


async def cancel(stub: InferenceServiceStub) -> None:
    """A stream that its reader leaves, which frees the engine at once."""
    call = stub.StreamChatCompletion(long_story())
    pieces = 0
    async for chunk in call:
        pieces += chunk.event.event_type == RESPONSE_EVENT_TYPE_PROGRESS
        if pieces == 3:
            break
    call.cancel()
    print(f"cancel: {(await call.code()).name} after {pieces} pieces")


async def errors(stub: InferenceServiceStub) -> None:
    """What a refused call says to programs."""
    request = question("Hi")
    request.sampling_params.min_p = 3
    try:
        await stub.ChatCompletion(request)
    except grpc.aio.AioRpcError as error:
        print(f"errors: {Refusal.of(error)}")


async def retry(stub: InferenceServiceStub) -> None:
    """UNAVAILABLE is gRPC's to retry (SERVICE_CONFIG); a full server says when to come back."""
    patience_ends = time.monotonic() + 60
    while True:
        try:
            left_s = patience_ends - time.monotonic()
            answer = await stub.ChatCompletion(question("What is the capital of France?"), timeout=left_s)
        except grpc.aio.AioRpcError as error:
            refusal = Refusal.of(error)
            print(f"retry: {refusal}", flush=True)
            if refusal.retry_after_s is None or time.monotonic() + refusal.retry_after_s > patience_ends:
                return
            await asyncio.sleep(refusal.retry_after_s)
        else:
            print(f"retry: {answer.completion_message.content.text}")
            return


@dataclass(frozen=True)
class Refusal:
    """Why a call or an item failed, for a program to act upon."""

    code: str
    reason: str
    """The name of an ErrorReason."""
    fields: tuple[str, ...]
    """The paths of the fields at fault."""
    retry_after_s: float | None
    """Unless set, sending it again is of no use."""

    @classmethod
    def of(cls, error: grpc.aio.AioRpcError) -> "Refusal":
        trailers = dict(error.trailing_metadata() or ())
        status = status_pb2.Status.FromString(trailers.get("grpc-status-details-bin", b""))
        return cls._of_details(error.code().name, status.details)

    @classmethod
    def of_item(cls, error: ItemError) -> "Refusal":
        name = next(code.name for code in grpc.StatusCode if code.value[0] == error.code)
        return cls._of_details(name, error.details)

    @classmethod
    def _of_details(cls, code: str, details: Iterable[any_pb2.Any]) -> "Refusal":
        info, bad_request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        retry_info = error_details_pb2.RetryInfo()
        retry_after_s: float | None = None
        for detail in details:
            if detail.Unpack(retry_info):
                retry_after_s = retry_info.retry_delay.ToNanoseconds() / 1e9
            else:
                _ = detail.Unpack(info) or detail.Unpack(bad_request)
        return cls(code, info.reason, tuple(fault.field for fault in bad_request.field_violations), retry_after_s)

    def __str__(self) -> str:
        words = [self.code, self.reason, *self.fields]
        if self.retry_after_s is not None:
            words.append(f"after {self.retry_after_s * 1000:.0f} ms")
        return " ".join(words)


def question(words: str) -> ChatCompletionRequest:
    return ChatCompletionRequest(
        model_id=CHAT_MODEL,
        messages=[Message(user=UserMessage(content=text(words)))],
        sampling_params=SamplingParams(max_tokens=40),
    )


def long_story() -> ChatCompletionRequest:
    """Longer than anybody waits for."""
    request = question("Tell me a story.")
    request.sampling_params.CopyFrom(SamplingParams(min_tokens=1000, max_tokens=1000))
    return request


def text(words: str) -> InterleavedContent:
    return InterleavedContent(text=words)


def dot(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


PARTS: dict[str, Callable[[InferenceServiceStub], Awaitable[None]]] = {
    part.__name__: part for part in (chat, tools, structured, embeddings, deadline, cancel, errors, retry)
}


async def main(target: str, *parts: str) -> None:
    async with grpc.aio.insecure_channel(target, options=[("grpc.service_config", SERVICE_CONFIG)]) as channel:
        stub = InferenceServiceStub(channel)
        for part in parts or PARTS:
            await PARTS[part](stub)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
