"""The clients in five languages, run against the server as their READMEs say."""

import asyncio
import re
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from service.engines.scripted import Reply, ScriptedLanguageEngine
from service.settings import AdmissionSettings
from tests.clients.building import BUILD_S, CLIENTS, Command, run, surroundings
from tests.server.serving import LIMITS, request, running
from tests.server.test_cancel import until
from tests.serving import LLM, LOAD_S, ServerProcess

RUN_S = 120
pytestmark = pytest.mark.timeout(LOAD_S + BUILD_S + RUN_S)

ONE_AT_A_TIME = AdmissionSettings(max_running_requests=1, max_queued_requests=0)
ANSWER = "Paris."
FULL = re.compile(r"retry: RESOURCE_EXHAUSTED OVERLOADED after [1-9]\d* ms")


def shown_in_the_readme() -> str:
    [shown] = re.findall(r"^```text\n(.*?)^```$", (CLIENTS / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    return str(shown)


@pytest.mark.real_model
def test_the_tour(real_server: ServerProcess, client: Command) -> None:
    command = client(real_server.target)
    assert run(*command.arguments, **command.environment) == shown_in_the_readme()


async def test_what_is_unavailable_is_asked_again(client: Command) -> None:
    replies = [Reply(fail_after=0), Reply(ANSWER)]
    engine = ScriptedLanguageEngine(LLM, LIMITS, lambda _: replies.pop(0))
    async with running(engine) as server, started(client(server.address, "retry")) as lines:
        assert await rest(lines) == [f"retry: {ANSWER}"]
    assert not replies


async def test_a_full_server_says_when_to_come_back(client: Command) -> None:
    engine = ScriptedLanguageEngine(LLM, LIMITS, lambda prompt: Reply(ANSWER, RUN_S if "Wait" in prompt else 0.0))
    async with running(engine, admission=ONE_AT_A_TIME) as server:
        wait = request("ChatCompletion", model_id=LLM, messages=[{"user": {"content": {"text": "Wait!"}}}])
        occupying = server.call("ChatCompletion", wait, timeout_s=RUN_S)
        await until(lambda: engine.running == 1)
        async with started(client(server.address, "retry")) as lines:
            assert FULL.fullmatch((await asyncio.wait_for(lines.readline(), RUN_S)).decode().strip())
            occupying.cancel()
            *refused_again, last = await rest(lines)
            assert all(map(FULL.fullmatch, refused_again))
            assert last == f"retry: {ANSWER}"


@asynccontextmanager
async def started(command: Command) -> AsyncIterator[asyncio.StreamReader]:
    """What it prints, while it runs."""
    process = await asyncio.create_subprocess_exec(
        *command.arguments, stdout=PIPE, stdin=asyncio.subprocess.DEVNULL, env=surroundings(command.environment)
    )
    assert process.stdout
    try:
        yield process.stdout
        assert await asyncio.wait_for(process.wait(), RUN_S) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def rest(lines: asyncio.StreamReader) -> list[str]:
    return (await asyncio.wait_for(lines.read(), RUN_S)).decode().splitlines()
