"""vLLM's own OpenAI server, asked over server-sent events."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from service.bench.contenders.base import Running, RunningServer, free_port, process, until_ready
from service.bench.contenders.vllm_options import command_line, environment
from service.bench.timing import Mark, Send
from service.bench.workloads import Ask

MODULE = "vllm.entrypoints.openai.api_server"
DATA, END = b"data: ", b"[DONE]"


class OpenAIServer:
    """With Inferwire's settings of the engine, or with vLLM's defaults."""

    constrains = True

    def __init__(self, *, tuned: bool) -> None:
        self._tuned = tuned
        self.name = "vLLM's OpenAI server" + ("" if tuned else ", its defaults")

    @asynccontextmanager
    async def running(self, model: Path, log: Path) -> AsyncIterator[Running]:
        port = free_port()
        options = command_line(model) if self._tuned else ["--model", str(model)]
        arguments = ["-m", MODULE, *options, "--host", "127.0.0.1", "--port", str(port)]
        async with (
            process(arguments, log, environment() if self._tuned else None) as started,
            aiohttp.ClientSession(
                f"http://127.0.0.1:{port}",
                connector=aiohttp.TCPConnector(limit=0),
                timeout=aiohttp.ClientTimeout(total=None),
            ) as session,
        ):

            async def is_ready() -> bool:
                try:
                    async with session.get("/health") as answer:
                        return bool(answer.ok)
                except aiohttp.ClientError:
                    return False

            await until_ready(started, log, is_ready)
            yield RunningServer(psutil.Process(started.pid), _sender(session, str(model)))


def _sender(session: aiohttp.ClientSession, model: str) -> Send:
    async def send(ask: Ask, mark: Mark) -> int:
        last = b""
        async with session.post("/v1/completions", json=_body(ask, model)) as answer:
            answer.raise_for_status()
            async for line in answer.content:
                if line.startswith(DATA) and END not in line:
                    last = line
                    mark()
        # The last one tells how many there were, and has no text.
        return int(json.loads(last.removeprefix(DATA))["usage"]["completion_tokens"])

    return send


def _body(ask: Ask, model: str) -> dict[str, Any]:
    body = {
        "model": model,
        "prompt": ask.prompt,
        "max_tokens": ask.tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if ask.json_schema:
        return {**body, "structured_outputs": {"json": json.loads(ask.json_schema)}}
    return {**body, "min_tokens": ask.tokens, "ignore_eos": True}
