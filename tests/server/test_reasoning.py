"""Models that think, as callers of a server see them: deltas, costs on every exit, refusals."""

from typing import Any

import grpc
import pytest

from inferwire.v1 import chat_pb2
from service.settings import AdmissionSettings
from tests.inference.thinking import FAILS_AFTER, LLM, QWEN, R1, Family, Recording
from tests.server.serving import Running, language, request, running, trailing
from tests.server.test_metrics import HERE, scraped, value

KEY = "inferwire-reasoning-tokens"
ONE_PLACE = AdmissionSettings(max_running_requests=1)
TOOL = {"tool_name": {"custom": "f"}, "input_schema_json": '{"type": "object"}'}


def chat(name: str = "ChatCompletion", **fields: Any) -> Any:
    return request(name, **{"model_id": LLM, "messages": [{"user": {"content": {"text": "Hi"}}}], **fields})


async def streamed(server: Running, **fields: Any) -> list[Any]:
    return await server.answers("StreamChatCompletion", chat("StreamChatCompletion", **fields))


def kinds(chunks: list[Any]) -> list[str]:
    return [chunk.event.delta.WhichOneof("delta") for chunk in chunks[1:-1]]


@pytest.mark.parametrize("family", [R1, QWEN], ids=lambda family: family.name)
async def test_a_stream_brings_thoughts_and_then_the_answer(family: Family) -> None:
    async with running(Recording(family)) as server:
        chunks = await streamed(server)
        [whole] = await server.answers("ChatCompletion", chat())
        assert kinds(chunks) == sorted(kinds(chunks))  # reasoning, then text
        thoughts = "".join(chunk.event.delta.reasoning.text for chunk in chunks)
        answer = "".join(chunk.event.delta.text.text for chunk in chunks)
        assert (thoughts, answer) == (family.thoughts, family.answer)
        message = whole.completion_message
        assert (message.reasoning, message.content.text) == (thoughts, answer)
        assert chunks[-1].usage == whole.usage
        assert [chunk.sequence for chunk in chunks] == list(range(len(chunks)))
        first_s = whole.timings.time_to_first_token.ToTimedelta()
        assert first_s <= whole.timings.total.ToTimedelta()


async def test_a_call_that_is_written_behind_the_thoughts_is_read_and_one_within_is_not() -> None:
    call = '{"name": "f", "parameters": {"a": 1}}'
    async with running(Recording(R1, f"I could say {call}.\n</think>\n\n{call}")) as server:
        chunks = await streamed(server, tools=[TOOL])
        calls = [chunk.event.delta.tool_call.call for chunk in chunks if chunk.event.delta.tool_call.HasField("call")]
        assert [(found.tool_name.custom, found.arguments_json) for found in calls] == [("f", '{"a": 1}')]
        assert "".join(chunk.event.delta.reasoning.text for chunk in chunks) == f"I could say {call}.\n"


async def test_costs_are_told_in_the_trailers_and_to_prometheus() -> None:
    async with running(Recording(R1), settings=HERE) as server:
        under_way = server.call("ChatCompletion", chat())
        answer = await under_way
        assert trailing(await under_way.trailing_metadata())[KEY] == str(answer.usage.reasoning_tokens) != "0"
        counted = value(await scraped(server), "reasoning_tokens_total", model=LLM, identity="anonymous")
        assert counted == answer.usage.reasoning_tokens


@pytest.mark.parametrize("name", ["ChatCompletion", "StreamChatCompletion"])
@pytest.mark.parametrize("family", [R1, QWEN], ids=lambda family: family.name)
@pytest.mark.parametrize("generation", [0, 1])
async def test_a_failure_tells_what_the_thoughts_cost(name: str, family: Family, generation: int) -> None:
    engine = Recording(family, fails_in=generation)
    async with running(engine) as server:
        failure = await server.failure(name, chat(name))
        assert failure.reason == "ENGINE_FAILED"
        thoughts, all_tokens = int(failure.trailing[KEY]), int(failure.trailing["inferwire-completion-tokens"])
        assert all_tokens - thoughts == FAILS_AFTER * generation
        assert thoughts == FAILS_AFTER if generation == 0 else thoughts > FAILS_AFTER
        assert engine.running == 0


async def test_the_place_is_kept_from_the_thoughts_to_the_answer() -> None:
    engine = Recording(R1, step_s=0.001)
    async with running(engine, admission=ONE_PLACE) as server:
        calls = [server.call("ChatCompletion", chat()) for _ in range(3)]
        for under_way in calls:
            await under_way
    # Never the thoughts of two, one after the other.
    assert [asked.request_id.endswith("-thoughts") for asked in engine.asked] == [True, False] * 3


async def test_a_model_tells_whether_it_thinks() -> None:
    for engine, thinks, switch in (
        (Recording(QWEN), True, True),
        (Recording(R1), True, False),
        (language(), False, False),
    ):
        async with running(engine) as server:
            [answer] = await server.answers("GetModel", request("GetModel", model_id=LLM))
            capabilities = answer.model.capabilities
            assert (capabilities.reasoning, capabilities.reasoning_switch) == (thinks, switch)


@pytest.mark.parametrize("name", ["ChatCompletion", "StreamChatCompletion"])
async def test_a_model_that_does_not_think_names_the_field(name: str) -> None:
    async with running(language()) as server:
        failure = await server.failure(name, chat(name, reasoning={}))
        assert (failure.code, failure.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["reasoning"])
        assert failure.reason == "UNSUPPORTED_BY_MODEL"


async def test_what_preflight_would_refuse() -> None:
    async with running(Recording(R1)) as server:
        asked = chat_pb2.ChatCompletionRequest(
            model_id=LLM,
            messages=[{"user": {"content": {"text": "Hi"}}}],
            reasoning={"max_tokens": 5},
            sampling_params={"max_tokens": 5},
        )
        [report] = await server.answers("Preflight", request("Preflight", chat=asked))
        assert [violation.field for violation in report.violations] == ["reasoning.max_tokens"]
        asked.reasoning.max_tokens = -1
        [report] = await server.answers("Preflight", request("Preflight", chat=asked))
        assert [violation.field for violation in report.violations] == ["reasoning.max_tokens"]
