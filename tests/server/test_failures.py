"""Calls that fail: every reason that can be brought about, as a caller sees it."""

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest

from service.engines.scripted import Reply, ScriptedLanguageEngine
from service.errors import InternalError
from service.telemetry.logs import LOGGER, configure_logs
from tests.server.serving import (
    EMBEDDER,
    LIMITS,
    LLM,
    METHODS,
    Failure,
    Running,
    language,
    request,
    running,
)
from tests.server.test_calls import GENERATING, REQUESTS, STREAMS, ask, event_type_of

Code = grpc.StatusCode
PICTURE = {"items": {"items": [{"image": {"url": "https://example.com/cat.png"}}]}}
TOOL = {"tool_name": {"custom": "t"}}
UNKNOWN_FIELD = b"\xfa\x7f\x01x"  # number 2047, one byte
LARGE_FIELD = b"\xfa\x7f\xa8\x46" + b"x" * 9000


@dataclass(frozen=True)
class Case:
    """A request, and how it fails."""

    method: str
    request: Any
    code: grpc.StatusCode
    reason: str
    fields: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.method} {self.reason} {' '.join(self.fields)}"


def bad(method: str, reason: str, *fields: str, **changed: Any) -> Case:
    return Case(method, ask(method, **changed), Code.INVALID_ARGUMENT, reason, list(fields))


def raw(method: str, data: bytes, reason: str) -> Case:
    return Case(method, ask(method).SerializeToString() + data, Code.INVALID_ARGUMENT, reason, [""])


CASES = [
    *(raw(method, b"\xff", "MALFORMED_MESSAGE") for method in REQUESTS),
    *(raw(method, UNKNOWN_FIELD, "UNKNOWN_FIELD") for method in REQUESTS),
    *(raw(method, LARGE_FIELD, "MESSAGE_TOO_LARGE") for method in REQUESTS),
    bad("ChatCompletion", "MESSAGE_TOO_LARGE", "messages", messages=[{}] * 1001),
    bad("Embeddings", "MESSAGE_TOO_LARGE", "contents", contents=[{}] * 1001),
    raw("GetModel", b"\x0a\x02\xc3\x28", "MALFORMED_MESSAGE"),  # model_id, and no UTF-8
    raw("Completion", b"\x12\x04\x0a\x02\xff\xfe", "MALFORMED_MESSAGE"),  # content.text, and no UTF-8
    Case("GetModel", request("GetModel"), Code.INVALID_ARGUMENT, "INVALID_FIELD", ["model_id"]),
    bad("Completion", "INVALID_FIELD", "model_id", model_id=""),
    bad("Completion", "INVALID_FIELD", "content", content={"text": ""}),
    bad("ChatCompletion", "INVALID_FIELD", "messages", messages=[]),
    bad("ChatCompletion", "INVALID_FIELD", "messages", messages=[REQUESTS["ChatCompletion"]["messages"][0]] * 9),
    bad("ChatCompletion", "INVALID_FIELD", "messages[0].user.content", messages=[{"user": {}}]),
    bad("Embeddings", "INVALID_FIELD", "contents[1].text", contents=[{"text": "a"}, {"text": ""}]),
    bad("Embeddings", "INVALID_FIELD", "contents", contents=[{"text": "a"}] * 9),
    bad("Embeddings", "INVALID_FIELD", "output_dimension", output_dimension=65),
    bad(
        "StreamCompletion",
        "INVALID_FIELD",
        "sampling_params.top_p.temperature",
        sampling_params={"top_p": {"temperature": -1}},
    ),
    bad(
        "Completion",
        "INVALID_FIELD",
        "sampling_params.stop[1]",
        "sampling_params.min_p",
        sampling_params={"min_p": 2, "stop": ["a", ""]},
    ),
    bad("Completion", "INVALID_FIELD", "logprobs.top_k", logprobs={"top_k": 21}),
    bad("Embeddings", "UNKNOWN_FIELD", "text_truncation", text_truncation=99),
    bad(
        "Completion",
        "INVALID_CONSTRAINT",
        "response_format.json_schema.json_schema",
        response_format={"json_schema": {"json_schema": "{"}},
    ),
    bad(
        "StreamChatCompletion",
        "INVALID_CONSTRAINT",
        "response_format.regex.pattern",
        response_format={"regex": {"pattern": "("}},
    ),
    bad(
        "ChatCompletion",
        "UNSUPPORTED_BY_MODEL",
        "messages[0].user.content.items.items[0].image",
        messages=[{"user": {"content": PICTURE}}],
    ),
    bad("Embeddings", "UNSUPPORTED_BY_MODEL", "task_type", task_type=1),
    *(
        Case(method, ask(method, model_id="x"), Code.NOT_FOUND, "MODEL_NOT_FOUND")
        for method in REQUESTS
        if "model_id" in REQUESTS[method]
    ),
    *(
        Case(method, ask(method, model_id=EMBEDDER), Code.FAILED_PRECONDITION, "WRONG_MODEL_TYPE")
        for method in GENERATING
    ),
    Case("Embeddings", ask("Embeddings", model_id=LLM), Code.FAILED_PRECONDITION, "WRONG_MODEL_TYPE"),
    bad("ChatCompletion", "INVALID_FIELD", "tools[1].tool_name", tools=[TOOL, TOOL]),
    bad("StreamChatCompletion", "INVALID_FIELD", "tool_config.choice", tool_config={"choice": "TOOL_CHOICE_REQUIRED"}),
    Case("Preflight", request("Preflight"), Code.INVALID_ARGUMENT, "INVALID_FIELD", [""]),
    Case("StreamEmbeddings", request("StreamEmbeddings"), Code.INVALID_ARGUMENT, "INVALID_FIELD", [""]),
    Case(
        "RegisterModel",
        request("RegisterModel", model_id="x"),
        Code.UNIMPLEMENTED,
        "NOT_IMPLEMENTED",
        ["base_model_id"],
    ),
    Case("UnregisterModel", request("UnregisterModel", model_id="x"), Code.NOT_FOUND, "MODEL_NOT_FOUND"),
    Case("Drain", request("Drain", budget={"seconds": -1}), Code.INVALID_ARGUMENT, "INVALID_FIELD", ["budget"]),
    Case(
        "Drain",
        request("Drain", withdrawal_window={"seconds": -1}),
        Code.INVALID_ARGUMENT,
        "INVALID_FIELD",
        ["withdrawal_window"],
    ),
    Case("Drain", request("Drain", budget={"seconds": 2**62}), Code.INVALID_ARGUMENT, "INVALID_FIELD", ["budget"]),
    bad("Completion", "INVALID_FIELD", "first_token_timeout", first_token_timeout={"seconds": 2**62}),
    bad("ChatCompletion", "INVALID_FIELD", "first_token_timeout", first_token_timeout={"seconds": 2**62}),
]


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_a_failure_says_what_is_wrong_and_where(server: Running, case: Case) -> None:
    failure = await server.failure(case.method, case.request, x_request_id="mine")
    assert (failure.code, failure.reason, failure.fields) == (case.code, case.reason, case.fields)
    assert failure.request_id == "mine"
    assert failure.message
    await server.answers("ListModels", request("ListModels"))


async def test_a_prompt_that_is_too_long_is_told_in_numbers(server: Running, llm: ScriptedLanguageEngine) -> None:
    llm.bounds = type(llm.bounds)(100, llm.bounds.vocabulary_size, llm.bounds.max_logprobs)
    failure = await server.failure("Completion", ask("Completion", content={"text": "x" * 100}))
    assert (failure.code, failure.reason) == (Code.INVALID_ARGUMENT, "CONTEXT_LENGTH_EXCEEDED")
    assert failure.fields == ["content"]
    assert failure.facts == {"tokens": "100", "limit": "99"}


async def test_an_unknown_model_is_told_with_the_known_ones(server: Running) -> None:
    failure = await server.failure("GetModel", request("GetModel", model_id="x"))
    assert failure.facts == {"known_models": f"{EMBEDDER},{LLM}"}
    assert f"{EMBEDDER}, {LLM}" in failure.message


async def test_a_request_far_too_large_is_cut_off_and_the_connection_goes_on(server: Running) -> None:
    failure = await server.failure("Completion", b"x" * (5 * LIMITS.max_request_bytes))
    assert failure.code is Code.RESOURCE_EXHAUSTED
    await server.answers("ListModels", request("ListModels"))


async def test_a_method_that_nobody_has_is_unimplemented(server: Running) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await server.channel.unary_unary("/inferwire.v1.InferenceService/Sing")(b"")
    assert failed.value.code() is Code.UNIMPLEMENTED


@pytest.mark.parametrize("request_id", ["", "x" * 129, "two words"])
async def test_an_id_that_a_log_cannot_hold_is_replaced(server: Running, request_id: str) -> None:
    failure = await server.failure("GetModel", request("GetModel"), x_request_id=request_id)
    assert failure.request_id not in ("", request_id)


@pytest.mark.parametrize("method", GENERATING)
async def test_an_engine_that_fails_on_the_way_is_no_end_of_an_answer(method: str) -> None:
    engine = language(Reply("abcdef", fail_after=3))
    async with running(engine) as served:
        under_way = served.call(method, ask(method))
        heard: list[Any] = []
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await hear(under_way, heard)
        failure = Failure.of(failed.value)
        assert (failure.code, failure.reason) == (Code.UNAVAILABLE, "ENGINE_FAILED")
        assert failure.trailing["grpc-retry-pushback-ms"] == "1000"
        assert [event_type_of(chunk) for chunk in heard] == ([1, 3, 3, 3] if method in STREAMS else [])
        assert engine.running == 0


async def hear(under_way: Any, heard: list[Any]) -> None:
    if isinstance(under_way, grpc.aio.UnaryUnaryCall):
        heard.append(await under_way)
    else:
        async for chunk in under_way:
            heard.append(chunk)  # noqa: PERF401


@pytest.mark.parametrize("method", STREAMS)
async def test_what_a_failed_call_had_cost_is_told(method: str) -> None:
    async with running(language(Reply("abcdef", fail_after=3))) as served:
        told = (await served.failure(method, ask(method))).trailing
        assert int(told["inferwire-prompt-tokens"]) > 0
        assert told["inferwire-completion-tokens"] == "3"


async def test_a_refused_call_has_cost_nothing(server: Running) -> None:
    told = (await server.failure("Completion", ask("Completion", model_id="x"))).trailing
    assert (told["inferwire-prompt-tokens"], told["inferwire-completion-tokens"]) == ("0", "0")


@pytest.mark.parametrize("method", GENERATING)
async def test_a_dead_engine_is_told_as_such(method: str, llm: ScriptedLanguageEngine) -> None:
    async with running(llm) as served:
        llm.ready = False
        failure = await served.failure(method, ask(method))
        assert (failure.code, failure.reason) == (Code.UNAVAILABLE, "ENGINE_FAILED")


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    logger = logging.getLogger(LOGGER)
    before = logger.handlers, logger.level, logger.propagate
    stream = io.StringIO()
    configure_logs("info", True, stream)
    yield stream
    logger.handlers, logger.level, logger.propagate = before


def stumble(prompt: str) -> Reply:
    raise RuntimeError("the secret is 42")


@pytest.mark.parametrize("method", GENERATING)
async def test_a_defect_is_told_without_its_text_and_logged_with_it(method: str, log: io.StringIO) -> None:
    async with running(ScriptedLanguageEngine(LLM, LIMITS, stumble)) as served:
        failure = await served.failure(method, ask(method), x_request_id="find-me")
        assert (failure.code, failure.reason, failure.request_id) == (Code.INTERNAL, "INTERNAL", "find-me")
        assert "secret" not in str(failure)
        (record,) = [r for r in map(json.loads, log.getvalue().splitlines()) if r["level"] == "error"]
        assert record["request_id"] == "find-me"
        assert "the secret is 42" in record["exception"]
        assert record["method"].endswith(f"/{method}")


class SpeaksOfADefect(ScriptedLanguageEngine):
    """Knows itself that it is broken, as vLLM's engine does."""

    def generate(self, request: Any) -> Any:
        raise InternalError("The engine failed.") from ValueError("the secret is 42")


async def test_a_defect_that_an_engine_speaks_of_is_logged_as_well(log: io.StringIO) -> None:
    async with running(SpeaksOfADefect(LLM, LIMITS)) as served:
        failure = await served.failure("Completion", ask("Completion"), x_request_id="find-me")
        assert (failure.code, failure.message) == (Code.INTERNAL, "The engine failed.")
        (record,) = [r for r in map(json.loads, log.getvalue().splitlines()) if r["level"] == "error"]
        assert record["request_id"] == "find-me"
        assert "the secret is 42" in record["exception"]


async def test_what_a_caller_got_wrong_is_no_error_of_the_servers_log(server: Running, log: io.StringIO) -> None:
    await server.failure("Completion", ask("Completion", model_id="x"))
    await server.failure("Completion", b"\xff")
    records = log.getvalue().splitlines()
    assert ["ERROR" in record for record in records] == [False, False]


def test_every_method_is_called_somewhere() -> None:
    assert {case.method for case in CASES} | set(REQUESTS) == set(METHODS)


async def test_a_deadline_that_passes_frees_the_engine(llm: ScriptedLanguageEngine) -> None:
    llm.script = lambda _: Reply(step_s=60)
    async with running(llm) as served:
        method = METHODS["Completion"]
        path = f"/{method.containing_service.full_name}/Completion"
        call = served.channel.unary_unary(path)(ask("Completion").SerializeToString(), timeout=0.2)
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await call
        assert failed.value.code() is Code.DEADLINE_EXCEEDED
        await asyncio.sleep(0.1)
        assert llm.running == 0
