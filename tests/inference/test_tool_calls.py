"""Tool calls in answers: the events of a stream, the unary answer, and what is no call."""

import json
from typing import Any

import pytest

from service.api.chat import ChatCompletionRequest, ChatCompletionResponse
from service.api.content import TextDelta, ToolCallDelta, ToolCallParseStatus
from service.api.events import Complete, Event, Progress
from service.api.messages import CompletionMessage, StopReason, UserMessage
from service.api.response_format import ConstraintOutcome, RegexResponseFormat
from service.api.sampling import LogProbConfig, SamplingParams
from service.api.tools import (
    ToolCall,
    ToolCallVerdict,
    ToolChoice,
    ToolConfig,
    ToolDefinition,
    ToolParamDefinition,
    ToolParameters,
)
from service.engines.registry import Registry
from service.errors import InvalidField
from service.inference.chat import Chat
from service.telemetry.calls import Call
from tests.decoding.tried import TriedHere
from tests.inference.conftest import LLM, NO_IMAGES, Language

STARTED, IN_PROGRESS, SUCCEEDED, FAILED = (
    ToolCallParseStatus.STARTED,
    ToolCallParseStatus.IN_PROGRESS,
    ToolCallParseStatus.SUCCEEDED,
    ToolCallParseStatus.FAILED,
)
TOOL = ToolDefinition(
    tool_name="f", input=ToolParameters(parameters=(ToolParamDefinition(name="a", param_type="int"),))
)
CALL = '{"name": "f", "parameters": {"a": 1}}'
MISFIT = '{"name": "f", "parameters": {"a": "ü"}}'
TWO = f"So: {CALL}; {MISFIT} Done."


def asked(**fields: Any) -> ChatCompletionRequest:
    return ChatCompletionRequest(
        **{"model_id": LLM, "messages": (UserMessage(content="?"),), "tools": (TOOL,), **fields}
    )


async def streamed(language: Language, said: str, **fields: Any) -> list[Event]:
    registry = Registry([await language(said)])
    return [event async for event in Chat(registry, TriedHere(), NO_IMAGES).stream(asked(**fields), Call("", ""))]


async def answered(language: Language, said: str, **fields: Any) -> ChatCompletionResponse:
    return await Chat(Registry([await language(said)]), TriedHere(), NO_IMAGES).answer(asked(**fields), Call("", ""))


def deltas(events: list[Event]) -> list[Any]:
    return [event.delta for event in events if isinstance(event, Progress)]


def of_call(events: list[Event], index: int) -> list[ToolCallDelta]:
    return [delta for delta in deltas(events) if isinstance(delta, ToolCallDelta) and delta.call_index == index]


def text_of(events: list[Event]) -> str:
    return "".join(delta.text for delta in deltas(events) if isinstance(delta, TextDelta))


@pytest.mark.parametrize(("index", "last", "raw"), [(0, SUCCEEDED, CALL), (1, FAILED, MISFIT)])
async def test_a_call_starts_is_written_and_ends(language: Language, index: int, last: Any, raw: str) -> None:
    first, *written, end = of_call(await streamed(language, TWO), index)
    assert (first.parse_status, first.tool_call) == (STARTED, None)
    assert {delta.parse_status for delta in written} == {IN_PROGRESS}
    assert len(written) > 1
    assert "".join(str(delta.tool_call) for delta in written) == raw
    assert end.parse_status is last
    assert isinstance(end.tool_call, ToolCall)
    assert {delta.call_id for delta in (first, *written)} == {end.call_id} == {end.tool_call.call_id}
    assert end.tool_call.raw_text == (None if last is SUCCEEDED else raw)


async def test_calls_have_ids_of_their_own_and_text_is_shown_once(language: Language) -> None:
    events = await streamed(language, TWO)
    assert of_call(events, 0)[0].call_id != of_call(events, 1)[0].call_id
    assert of_call(events, 2) == []
    assert text_of(events) == "So:  Done."


async def test_the_end_of_a_call_says_that_an_answer_is_awaited(language: Language) -> None:
    events = await streamed(language, TWO)
    stops = [event.stop_reason for event in events if isinstance(event, Progress) and event.stop_reason]
    assert stops == [StopReason.END_OF_MESSAGE] * 2
    assert isinstance(events[-1], Complete)
    assert events[-1].stop_reason is StopReason.END_OF_MESSAGE


async def test_events_are_numbered_and_never_empty(language: Language) -> None:
    events = await streamed(language, TWO)
    assert [event.sequence for event in events] == list(range(len(events)))
    assert all(delta.text if isinstance(delta, TextDelta) else delta.tool_call != "" for delta in deltas(events))


@pytest.mark.parametrize(
    "said",
    [
        "",
        "No call.",
        CALL,
        TWO,
        CALL[:-3],
        '{"a": [1]}',
        f"[{CALL},{CALL}] So.",
        f"[{CALL}, {CALL}]",
        "{",
        f"é{CALL}東",
        MISFIT,
    ],
)
@pytest.mark.parametrize("tokens", [0, 20])
async def test_the_unary_answer_is_the_stream_joined(language: Language, said: str, tokens: int) -> None:
    fields = {"logprobs": LogProbConfig(top_k=1), "sampling_params": SamplingParams(max_tokens=tokens)}
    events, answer = await streamed(language, said, **fields), await answered(language, said, **fields)
    message, last = answer.completion_message, events[-1]
    ended = [d.tool_call for d in deltas(events) if isinstance(d, ToolCallDelta) and isinstance(d.tool_call, ToolCall)]
    assert message.content == text_of(events)
    assert [_without_id(call) for call in message.tool_calls] == [_without_id(call) for call in ended]
    assert isinstance(last, Complete)
    assert (message.stop_reason, answer.usage) == (last.stop_reason, last.usage)
    positions = [position for event in events if isinstance(event, Progress) for position in event.logprobs]
    assert positions == answer.logprobs


def _without_id(call: ToolCall) -> ToolCall:
    return call.model_copy(update={"call_id": ""})


async def test_calls_have_log_probabilities_too(language: Language) -> None:
    answer = await answered(language, CALL, logprobs=LogProbConfig(top_k=1))
    assert b"".join(position.token.token_bytes for position in answer.logprobs) == CALL.encode()


@pytest.mark.parametrize(
    ("said", "params", "verdict", "stop_reason"),
    [
        (CALL, {}, "complete", StopReason.END_OF_MESSAGE),
        (CALL, {"max_tokens": len(CALL)}, "complete", StopReason.OUT_OF_TOKENS),
        (CALL, {"max_tokens": len(CALL) - 1}, "truncated", StopReason.OUT_OF_TOKENS),
        (CALL, {"stop": ("1",)}, "truncated", StopReason.END_OF_TURN),
        (CALL[:-1], {}, "malformed", StopReason.END_OF_TURN),
        (MISFIT, {}, "schema_violation", StopReason.END_OF_TURN),
        (CALL.replace('{"name": "f"', '{"type": "function", "name": "g"'), {}, "unknown_tool", StopReason.END_OF_TURN),
    ],
)
async def test_every_call_has_its_verdict(
    language: Language, said: str, params: dict[str, Any], verdict: str, stop_reason: StopReason
) -> None:
    answer = await answered(language, said, sampling_params=SamplingParams(**params))
    (call,) = answer.completion_message.tool_calls
    assert (call.verdict, answer.completion_message.stop_reason) == (verdict, stop_reason)
    assert answer.completion_message.content == ""


@pytest.mark.parametrize(
    "fields", [{"tools": ()}, {"tool_config": ToolConfig(tool_choice=ToolChoice.NONE)}], ids=["without", "none"]
)
async def test_where_nothing_may_be_called_all_is_text(language: Language, fields: dict[str, Any]) -> None:
    answer = await answered(language, TWO, **fields)
    assert (answer.completion_message.content, answer.completion_message.tool_calls) == (TWO, ())
    assert answer.completion_message.stop_reason is StopReason.END_OF_TURN


@pytest.mark.parametrize(
    ("said", "outcome"),
    [(CALL, None), (MISFIT, None), ("42", ConstraintOutcome.SATISFIED), ("No.", ConstraintOutcome.VIOLATED)],
)
async def test_a_format_is_for_answers_without_calls(
    language: Language, said: str, outcome: ConstraintOutcome | None
) -> None:
    answer = await answered(language, said, response_format=RegexResponseFormat(pattern="[0-9]+"))
    assert answer.constraint_outcome is outcome


async def test_an_answer_that_must_be_a_call_has_no_format(language: Language) -> None:
    config = ToolConfig(tool_choice=ToolChoice.REQUIRED)
    with pytest.raises(InvalidField) as refused:
        await answered(language, CALL, response_format=RegexResponseFormat(pattern="a"), tool_config=config)
    assert [violation.field for violation in refused.value.violations] == ["response_format"]


@pytest.mark.parametrize(
    "arguments", ["{", "[]", '{"a": NaN}', '{"a": 1e999}', '{"a": "\\ud800"}', '{"a": ' + "[" * 500 + "]" * 500 + "}"]
)
@pytest.mark.parametrize("tool_format", ["json", "function_tag", "python_list"])
async def test_calls_of_the_history_that_no_prompt_can_hold_are_refused(
    language: Language, arguments: str, tool_format: str
) -> None:
    call = ToolCall(call_id="1", tool_name="f", arguments_json=arguments, verdict=ToolCallVerdict.COMPLETE)
    history = (UserMessage(content="?"), CompletionMessage(content="", tool_calls=(call,)), UserMessage(content="!"))
    with pytest.raises(InvalidField) as refused:
        await answered(language, "", messages=history, tool_config=ToolConfig(tool_prompt_format=tool_format))
    assert [v.field for v in refused.value.violations] == ["messages[1].assistant.tool_calls[0].arguments_json"]


@pytest.mark.parametrize("said", ['{"name": "f", "parameters": {"a": "\\ud800"}}', '[f(a="\\ud800")]'])
async def test_what_is_told_of_calls_can_be_sent(language: Language, said: str) -> None:
    """Half of a surrogate pair, which models can escape, is no text."""
    config = ToolConfig(tool_prompt_format="python_list" if said[0] == "[" else "json")
    answer = await answered(language, said, tool_config=config)
    (call,) = answer.completion_message.tool_calls
    assert "".join((call.arguments_json, call.problem or "", call.raw_text or "")).encode()
    assert json.loads(call.arguments_json) == {"a": "\ud800"}
