"""Inferwire, as operators start it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import psutil
import yaml

from service.api.completion import CompletionRequest
from service.api.response_format import JsonSchemaResponseFormat
from service.api.sampling import SamplingParams
from service.bench.contenders.base import (
    Running,
    RunningElsewhere,
    RunningServer,
    free_port,
    process,
    until_ready,
    written_to,
)
from service.bench.timing import Mark, Send
from service.bench.workloads import Ask
from service.wire.completion import completion_request_to_proto
from service.wire.usage import COMPLETION_TOKENS_KEY

METHOD = "/inferwire.v1.InferenceService/StreamCompletion"
MODEL_ID = "model"


class Inferwire:
    name = "Inferwire"
    constrains = True

    @asynccontextmanager
    async def running(self, model: Path, log: Path) -> AsyncIterator[Running]:
        address = f"127.0.0.1:{free_port()}"
        settings = log.with_suffix(".yaml")
        models = [{"path": str(model), "id": MODEL_ID}]
        settings.write_text(yaml.safe_dump({"server": {"address": address, "drain_window_s": 0}, "models": models}))
        async with (
            process(["-m", "service", "serve", "--config", str(settings)], log) as started,
            grpc.aio.insecure_channel(address) as channel,
        ):

            async def is_ready() -> bool:
                return "serving on" in written_to(log)

            await until_ready(started, log, is_ready)
            yield RunningServer(psutil.Process(started.pid), sender(channel, MODEL_ID))


def sender(channel: grpc.aio.Channel, model_id: str) -> Send:
    """Answers stay bytes: the machine that is measured has better things to do than to read them."""
    stream: Any = channel.unary_stream(METHOD)

    async def send(ask: Ask, mark: Mark) -> int:
        call = stream(completion_request_to_proto(_request(ask, model_id)).SerializeToString())
        # The first message has no text.
        await call.read()
        while await call.read() is not grpc.aio.EOF:
            mark()
        trailing = dict(await call.trailing_metadata())
        return int(trailing[COMPLETION_TOKENS_KEY])

    return send


def _request(ask: Ask, model_id: str) -> CompletionRequest:
    if ask.json_schema:
        params, shape = SamplingParams(max_tokens=ask.tokens), JsonSchemaResponseFormat(json_schema=ask.json_schema)
        return CompletionRequest(model_id=model_id, content=ask.prompt, sampling_params=params, response_format=shape)
    params = SamplingParams(max_tokens=ask.tokens, min_tokens=ask.tokens)
    return CompletionRequest(model_id=model_id, content=ask.prompt, sampling_params=params)


@asynccontextmanager
async def running_at(target: str, model_id: str) -> AsyncIterator[Running]:
    """A server that somebody else has started; what its processes use is not known."""
    async with grpc.aio.insecure_channel(target) as channel:
        yield RunningElsewhere(sender(channel, model_id))
