"""A client that hardly reads costs bounded memory and slows nobody."""

import asyncio
from typing import Any

import psutil

from inferwire.v1 import completion_pb2
from service.engines.scripted import Reply, ScriptedLanguageEngine
from tests.server.serving import LIMITS, LLM, request, running
from tests.server.test_cancel import until

TOKENS = 4000
MIB = 2**20


def asked() -> Any:
    return request("StreamCompletion", model_id=LLM, content={"text": "Hi"}, sampling_params={"max_tokens": TOKENS})


async def test_one_who_reads_a_message_a_second_holds_up_its_own_stream_only() -> None:
    engine = ScriptedLanguageEngine(LLM, LIMITS, lambda _: Reply("word " * TOKENS))
    async with running(engine) as server:
        slow = [server.call("StreamCompletion", asked(), timeout_s=60) for _ in range(20)]
        for stream in slow:
            await stream.read()
        before = psutil.Process().memory_info().rss
        for _ in range(3):
            await asyncio.sleep(0.3)
            chunks = await server.answers("StreamCompletion", asked(), timeout_s=60)
            assert isinstance(chunks[-1], completion_pb2.CompletionResponseStreamChunk)
            assert chunks[-1].usage.completion_tokens == TOKENS
        assert psutil.Process().memory_info().rss - before < 100 * MIB
        for stream in slow:
            stream.cancel()
        await until(lambda: engine.running == 0)
