"""vLLM's own OpenAI server, asked over server-sent events."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp

from service.bench.contenders.base import Contender, Running, measured_here
from service.bench.contenders.openai_shapes import chat_messages, chat_tools
from service.bench.contenders.processes import free_port, process, until_ready
from service.bench.contenders.vllm_options import default_environment, tuning
from service.bench.timing import Figures, Mark, Prepare, Send, streams_at_once
from service.bench.workloads import TOOL_NAME, Ask, Workload

MODULE = "vllm.entrypoints.openai.api_server"
# For calls of a named tool, any of its parsers will do: the decoder sees to it that there is JSON.
READS_TOOL_CALLS = ("--enable-auto-tool-choice", "--tool-call-parser", "hermes")
KEPT_ALIVE_S = 2  # less than by the server, which would close a connection just when it is used again
JSON = {"Content-Type": "application/json"}
DATA, END = b"data: ", b"[DONE]"


class OpenAIServer(Contender[Workload, Figures]):
    """With Inferwire's settings of the engine, or with vLLM's defaults."""

    def __init__(self, *, tuned: bool) -> None:
        self._tuned = tuned
        self.name = "vLLM's OpenAI server" + ("" if tuned else ", its defaults")

    def takes(self, workload: Workload) -> bool:
        """By default it reads no tool calls."""
        return self._tuned or not workload.tool_schema

    async def get_ready(self, model: Path) -> None:
        if self._tuned:
            await asyncio.to_thread(tuning, model)

    @asynccontextmanager
    async def running(self, model: Path, log: Path) -> AsyncIterator[Running[Workload, Figures]]:
        serving = serving_tuned(model, log) if self._tuned else serving_by_default(model, log)
        async with serving as server:
            yield measured_here(partial(streams_at_once, _preparer(server.session, str(model))), server.pid)


@dataclass(frozen=True, slots=True)
class Server:
    pid: int
    session: aiohttp.ClientSession


def serving_tuned(model: Path, log: Path) -> AbstractAsyncContextManager[Server]:
    return _serving([*tuning(model).options, *READS_TOOL_CALLS], tuning(model).environment, log)


def serving_by_default(model: Path, log: Path) -> AbstractAsyncContextManager[Server]:
    """Nothing is said but which model, and where to listen."""
    return _serving(["--model", str(model)], default_environment(), log)


@asynccontextmanager
async def _serving(options: Sequence[str], environment: Mapping[str, str], log: Path) -> AsyncIterator[Server]:
    port = free_port()
    arguments = ["-m", MODULE, *options, "--host", "127.0.0.1", "--port", str(port)]
    async with process(arguments, log, environment) as started, _session(port) as session:

        async def is_ready() -> bool:
            try:
                async with session.get("/health") as answer:
                    return bool(answer.ok)
            except aiohttp.ClientError:
                return False

        await until_ready(started, log, is_ready)
        yield Server(started.pid, session)


def _session(port: int) -> aiohttp.ClientSession:
    """As many connections and as much time as it takes."""
    return aiohttp.ClientSession(
        f"http://127.0.0.1:{port}",
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEPT_ALIVE_S),
        timeout=aiohttp.ClientTimeout(total=None),
    )


class Refused(Exception):
    """The message is the server's."""


async def check(answer: aiohttp.ClientResponse) -> None:
    """Raises Refused."""
    if not answer.ok:
        raise Refused(await answer.text())


def _preparer(session: aiohttp.ClientSession, model: str) -> Prepare:
    def prepare(ask: Ask) -> Send:
        path = "/v1/chat/completions" if ask.tool_schema else "/v1/completions"
        body = json.dumps(_body(ask, model)).encode()
        # The first one of a chat says who speaks, and nothing else.
        without_text = 1 if ask.tool_schema else 0

        async def send(mark: Mark) -> int:
            last, skip = b"", without_text
            async with session.post(path, data=body, headers=JSON) as answer:
                await check(answer)
                async for line in answer.content:
                    if line.startswith(DATA) and END not in line:
                        last = line
                        if skip:
                            skip -= 1
                        else:
                            mark()
            return _tokens(last)

        return send

    return prepare


def _tokens(last: bytes) -> int:
    """The last message tells how many there were, and has no text."""
    return int(json.loads(last.removeprefix(DATA))["usage"]["completion_tokens"])


def _body(ask: Ask, model: str) -> dict[str, Any]:
    body = {
        "model": model,
        "max_tokens": ask.tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if ask.tool_schema:
        choice = {"type": "function", "function": {"name": TOOL_NAME}}
        tools = chat_tools(ask.tool_schema)
        return {**body, "messages": chat_messages(ask), "tools": tools, "tool_choice": choice}
    body["prompt"] = ask.prompt
    if ask.json_schema:
        return {**body, "structured_outputs": {"json": json.loads(ask.json_schema)}}
    return {**body, "min_tokens": ask.tokens, "ignore_eos": True}
