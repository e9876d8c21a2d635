"""Inferwire, as operators start it."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import yaml

from service.api.chat import ChatCompletionRequest
from service.api.completion import CompletionRequest
from service.api.messages import UserMessage
from service.api.response_format import JsonSchemaResponseFormat
from service.api.sampling import SamplingParams
from service.api.tools import NamedToolChoice, ToolConfig, ToolDefinition, ToolInputSchema
from service.bench.contenders.base import Contender, Measured, Running, measured_here
from service.bench.contenders.processes import free_port, process, until_ready, written_to
from service.bench.timing import Figures, Mark, Prepare, Send, streams_at_once
from service.bench.workloads import TOOL_DESCRIPTION, TOOL_NAME, Ask, Workload
from service.wire.chat import chat_request_to_proto
from service.wire.completion import completion_request_to_proto
from service.wire.usage import COMPLETION_TOKENS_KEY

COMPLETION = "/inferwire.v1.InferenceService/StreamCompletion"
CHAT = "/inferwire.v1.InferenceService/StreamChatCompletion"
MODEL_ID = "model"
UNLIMITED = (("grpc.max_receive_message_length", -1),)


class Inferwire(Contender[Workload, Figures]):
    name = "Inferwire"

    @asynccontextmanager
    async def running(self, model: Path, log: Path) -> AsyncIterator[Running[Workload, Figures]]:
        async with serving([{"path": str(model), "id": MODEL_ID}], log) as server:
            yield measured_here(partial(streams_at_once, _preparer(server.channel, MODEL_ID)), server.pid)

    @asynccontextmanager
    async def running_at(self, target: str, model_id: str) -> AsyncIterator[Running[Workload, Figures]]:
        """A server that somebody else has started; what its processes use is not known."""
        async with open_channel(target) as channel:
            yield Measured(partial(streams_at_once, _preparer(channel, model_id)), None)


@dataclass(frozen=True, slots=True)
class Server:
    pid: int
    channel: grpc.aio.Channel


@asynccontextmanager
async def serving(models: Sequence[Mapping[str, str]], log: Path) -> AsyncIterator[Server]:
    """`models` are entries of the setting of that name."""
    address = f"127.0.0.1:{free_port()}"
    settings = log.with_suffix(".yaml")
    settings.write_text(yaml.safe_dump({"server": {"address": address, "drain_window_s": 0}, "models": list(models)}))
    arguments = ["-m", "service", "serve", "--config", str(settings)]
    async with process(arguments, log) as started, open_channel(address) as channel:

        async def is_ready() -> bool:
            return "serving on" in written_to(log)

        await until_ready(started, log, is_ready)
        yield Server(started.pid, channel)


def open_channel(target: str) -> grpc.aio.Channel:
    """Takes answers of any length, such as hundreds of vectors."""
    return grpc.aio.insecure_channel(target, options=UNLIMITED)


def _preparer(channel: grpc.aio.Channel, model_id: str) -> Prepare:
    """Answers stay bytes: the machine that is measured has better things to do than to read them."""
    complete: Any = channel.unary_stream(COMPLETION)
    chat: Any = channel.unary_stream(CHAT)

    def prepare(ask: Ask) -> Send:
        if ask.tool_schema:
            return _sender(chat, chat_request_to_proto(_chat(ask, ask.tool_schema, model_id)).SerializeToString())
        return _sender(complete, completion_request_to_proto(_completion(ask, model_id)).SerializeToString())

    return prepare


def _sender(stream: Any, request: bytes) -> Send:
    async def send(mark: Mark) -> int:
        call = stream(request)
        # The first message has no text.
        await call.read()
        while await call.read() is not grpc.aio.EOF:
            mark()
        trailing = dict(await call.trailing_metadata())
        return int(trailing[COMPLETION_TOKENS_KEY])

    return send


def _completion(ask: Ask, model_id: str) -> CompletionRequest:
    if ask.json_schema:
        params, shape = SamplingParams(max_tokens=ask.tokens), JsonSchemaResponseFormat(json_schema=ask.json_schema)
        return CompletionRequest(model_id=model_id, content=ask.prompt, sampling_params=params, response_format=shape)
    params = SamplingParams(max_tokens=ask.tokens, min_tokens=ask.tokens)
    return CompletionRequest(model_id=model_id, content=ask.prompt, sampling_params=params)


def _chat(ask: Ask, tool_schema: str, model_id: str) -> ChatCompletionRequest:
    arguments = ToolInputSchema(input_schema_json=tool_schema)
    return ChatCompletionRequest(
        model_id=model_id,
        messages=(UserMessage(content=ask.prompt),),
        sampling_params=SamplingParams(max_tokens=ask.tokens),
        tools=(ToolDefinition(tool_name=TOOL_NAME, description=TOOL_DESCRIPTION, input=arguments),),
        tool_config=ToolConfig(tool_choice=NamedToolChoice(tool_name=TOOL_NAME)),
    )
