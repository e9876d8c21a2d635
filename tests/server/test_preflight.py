"""Preflight says what would happen to a request, and generates nothing."""

from typing import Any

import pytest

from inferwire.v1 import chat_pb2, completion_pb2, errors_pb2, tools_pb2
from service.engines.scripted import CONTEXT_LENGTH, Reply, ScriptedLanguageEngine
from tests.server.serving import EMBEDDER, LLM, Running, request

HELLO = {"user": {"content": {"text": "Hello?"}}}
WEATHER = {
    "tool_name": {"custom": "get_weather"},
    "description": "The weather of a city",
    "parameters": {"parameters": [{"name": "city", "param_type": "str"}]},
}


def chat(**fields: Any) -> chat_pb2.ChatCompletionRequest:
    return chat_pb2.ChatCompletionRequest(**{"model_id": LLM, "messages": [HELLO], **fields})


async def preflight(server: Running, **asked: Any) -> Any:
    (report,) = await server.answers("Preflight", request("Preflight", **asked))
    return report


def found(report: Any) -> list[tuple[str, str]]:
    assert report.accepted is (not report.violations)
    assert all(violation.description for violation in report.violations)
    reasons = errors_pb2.ErrorReason
    return [(v.field, reasons.Name(v.reason).removeprefix("ERROR_REASON_")) for v in report.violations]


async def test_it_shows_the_prompt_that_the_model_would_read(server: Running, llm: ScriptedLanguageEngine) -> None:
    report = await preflight(server, chat=chat())
    assert report.prompt == "<|im_start|>user\nHello?<|im_end|>\n<|im_start|>assistant\n"
    assert found(report) == []

    answered: list[str] = []

    def script(prompt: str) -> Reply:
        answered.append(prompt)
        return Reply("Hi.")

    llm.script = script
    (answer,) = await server.answers("ChatCompletion", chat())
    assert answered == [report.prompt]
    assert answer.usage.prompt_tokens == report.prompt_tokens
    assert report.context_tokens_left == CONTEXT_LENGTH - report.prompt_tokens


async def test_it_generates_nothing(server: Running, llm: ScriptedLanguageEngine) -> None:
    llm.script = lambda _: pytest.fail("it generated")
    await preflight(server, chat=chat(tools=[WEATHER]))
    await preflight(server, completion=completion_pb2.CompletionRequest(model_id=LLM, content={"text": "Once"}))


async def test_a_completion_is_shown_as_it_is(server: Running) -> None:
    asked = completion_pb2.CompletionRequest(
        model_id=LLM, content={"text": "Once"}, response_format={"regex": {"pattern": "a+"}}
    )
    report = await preflight(server, completion=asked)
    assert (report.prompt, report.prompt_tokens, report.constraint) == ("Once", 4, "regex\na+")


@pytest.mark.parametrize(
    ("asked", "used"),
    [
        (tools_pb2.TOOL_PROMPT_FORMAT_UNSPECIFIED, tools_pb2.TOOL_PROMPT_FORMAT_JSON),
        (tools_pb2.TOOL_PROMPT_FORMAT_FUNCTION_TAG, tools_pb2.TOOL_PROMPT_FORMAT_FUNCTION_TAG),
        (tools_pb2.TOOL_PROMPT_FORMAT_PYTHON_LIST, tools_pb2.TOOL_PROMPT_FORMAT_PYTHON_LIST),
    ],
)
async def test_it_tells_the_dialect_and_the_constraint(server: Running, asked: Any, used: Any) -> None:
    config = {"choice": "TOOL_CHOICE_REQUIRED", "tool_prompt_format": asked}
    report = await preflight(server, chat=chat(tools=[WEATHER], tool_config=config))
    assert report.tool_prompt_format == used
    assert report.constraint.startswith("structural_tag\n")
    assert "get_weather" in report.constraint
    assert '"get_weather"' in report.prompt


async def test_without_tools_there_is_no_dialect_and_no_constraint(server: Running) -> None:
    report = await preflight(server, chat=chat())
    assert report.tool_prompt_format == tools_pb2.TOOL_PROMPT_FORMAT_UNSPECIFIED
    assert report.constraint == ""


async def test_it_counts_what_is_kept_from_becoming_control_tokens(server: Running) -> None:
    split = {"items": {"items": [{"text": "<|im_end|> <|im_"}, {"text": "end|>"}]}}
    asked = chat(messages=[{"user": {"content": split}}])
    report = await preflight(server, chat=asked)
    (answer,) = await server.answers("ChatCompletion", asked)
    assert report.neutralized_spans == answer.usage.neutralized_spans == 2


async def test_it_finds_all_that_the_model_and_the_decoder_would_refuse(server: Running) -> None:
    report = await preflight(
        server,
        chat=chat(
            messages=[HELLO, {"user": {"content": {"items": {"items": [{"image": {"url": "https://a.b/c.png"}}]}}}}],
            sampling_params={"stop_token_ids": [10**6], "min_tokens": 9, "max_tokens": 3},
            tools=[WEATHER, {"tool_name": {"custom": "other"}, "input_schema_json": "{"}, WEATHER],
            response_format={"regex": {"pattern": "("}},
            logprobs={"top_k": 21},
        ),
    )
    assert found(report) == [
        ("tools[1].input_schema_json", "INVALID_CONSTRAINT"),
        ("tools[2].tool_name", "INVALID_FIELD"),
        ("messages[1].user.content.items.items[0].image", "UNSUPPORTED_BY_MODEL"),
        ("sampling_params.min_tokens", "INVALID_FIELD"),
        ("sampling_params.stop_token_ids[0]", "INVALID_FIELD"),
        ("logprobs.top_k", "INVALID_FIELD"),
        ("response_format.regex.pattern", "INVALID_CONSTRAINT"),
    ]


async def test_tools_that_cannot_be_used_leave_no_prompt_to_show(server: Running) -> None:
    report = await preflight(server, chat=chat(tools=[WEATHER, WEATHER]))
    assert found(report) == [("tools[1].tool_name", "INVALID_FIELD")]
    assert (report.prompt, report.prompt_tokens) == ("", 0)


async def test_it_finds_all_that_cannot_be_read(server: Running) -> None:
    report = await preflight(
        server,
        chat=chat(messages=[{}, HELLO, {"user": {}}], sampling_params={"min_p": 2}, tool_config={"choice": 99}),
    )
    assert found(report) == [
        ("messages[0]", "INVALID_FIELD"),
        ("messages[2].user.content", "INVALID_FIELD"),
        ("sampling_params.min_p", "INVALID_FIELD"),
        ("tool_config.choice", "UNKNOWN_FIELD"),
    ]


async def test_too_long_a_prompt_is_shown_and_refused(server: Running) -> None:
    report = await preflight(server, chat=chat(messages=[{"user": {"content": {"text": "x" * 4000}}}]))
    assert found(report) == []
    tight = await preflight(server, chat=chat(messages=[{"user": {"content": {"text": "x" * 3900}}}], tools=[WEATHER]))
    assert found(tight) == [("messages", "CONTEXT_LENGTH_EXCEEDED")]
    assert tight.prompt_tokens >= CONTEXT_LENGTH
    assert tight.context_tokens_left == 0


async def test_a_model_that_cannot_be_asked_is_a_failure_of_the_call(server: Running) -> None:
    for model_id, reason in (("x", "MODEL_NOT_FOUND"), (EMBEDDER, "WRONG_MODEL_TYPE")):
        failure = await server.failure("Preflight", request("Preflight", chat=chat(model_id=model_id)))
        assert failure.reason == reason
