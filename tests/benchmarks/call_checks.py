"""What an answer that must call has to keep, checked from the outside: by the contract and the jsonschema package."""

import ast
import json
from collections.abc import AsyncIterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from jsonschema import Draft202012Validator

from service.api.chat import ChatCompletionResponse
from service.api.content import TextDelta, ToolCallDelta, ToolCallParseStatus
from service.api.events import Complete, Event, Progress
from service.api.messages import StopReason
from service.api.tools import ToolCall, ToolCallVerdict, ToolPromptFormat

ENDS = {True: ToolCallParseStatus.SUCCEEDED, False: ToolCallParseStatus.FAILED}


@dataclass(frozen=True)
class Demand:
    """What was asked of an answer: calls of these tools, whose arguments fit these schemas."""

    schemas: Mapping[str, Any]
    format: ToolPromptFormat
    one_call: bool


@dataclass
class CallAnswer:
    """An answer, streamed or not; `deltas` holds those of each call of a stream."""

    text: str = ""
    calls: list[ToolCall] = field(default_factory=list)
    stop_reason: StopReason | None = None
    deltas: dict[int, list[ToolCallDelta]] = field(default_factory=dict)
    tokens: int = 0

    @property
    def out_of_tokens(self) -> bool:
        return self.stop_reason is StopReason.OUT_OF_TOKENS

    def count(self, verdict: ToolCallVerdict) -> int:
        return sum(call.verdict is verdict for call in self.calls)


def whole_answer(response: ChatCompletionResponse) -> CallAnswer:
    message = response.completion_message
    return CallAnswer(
        text=str(message.content),
        calls=list(message.tool_calls),
        stop_reason=message.stop_reason,
        tokens=response.usage.completion_tokens,
    )


async def joined_answer(events: AsyncIterable[Event]) -> CallAnswer:
    answer = CallAnswer()
    async for event in events:
        match event:
            case Progress(delta=TextDelta(text)):
                answer.text += text
            case Progress(delta=ToolCallDelta() as delta):
                answer.deltas.setdefault(delta.call_index, []).append(delta)
                if isinstance(delta.tool_call, ToolCall):
                    answer.calls.append(delta.tool_call)
            case Complete():
                answer.stop_reason, answer.tokens = event.stop_reason, event.usage.completion_tokens
            case _:
                pass
    return answer


def problems(answer: CallAnswer, demand: Demand) -> list[str]:
    """What is wrong with an answer that had to call; nothing, if the promises hold."""
    return [
        *_problems_of_answer(answer, demand),
        *(problem for call in answer.calls for problem in call_problems(call, demand.schemas)),
        *(problem for index in answer.deltas for problem in _problems_of_stream(answer, index, demand.format)),
    ]


def _problems_of_answer(answer: CallAnswer, demand: Demand) -> Iterator[str]:
    verdicts = [call.verdict for call in answer.calls]
    if answer.text:
        yield f"there is text: {answer.text!r}"
    if not verdicts:
        yield "there is no call, not even one that is truncated"
    if demand.one_call and len(verdicts) > 1:
        yield f"there are {len(verdicts)} calls"
    if any(verdict is not ToolCallVerdict.COMPLETE for verdict in verdicts[:-1]):
        yield "a call before the last one is not complete"
    allowed = {ToolCallVerdict.COMPLETE, *([ToolCallVerdict.TRUNCATED] if answer.out_of_tokens else ())}
    if verdicts and verdicts[-1] not in allowed:
        last = answer.calls[-1]
        yield f"stopped by {answer.stop_reason}, the last call is {last.verdict}: {last.problem} {last.raw_text!r}"


def call_problems(call: ToolCall, schemas: Mapping[str, Any]) -> Iterator[str]:
    """Of a call that claims to be complete; of any other one, arguments that a hasty caller might use."""
    if call.verdict is not ToolCallVerdict.COMPLETE:
        if call.verdict is ToolCallVerdict.TRUNCATED and call.arguments_json:
            yield "a truncated call has arguments"
        return
    if call.tool_name not in schemas:
        yield f"the tool {call.tool_name} was not to be called"
        return
    try:
        Draft202012Validator(schemas[call.tool_name]).validate(json.loads(call.arguments_json))
    except Exception as error:  # whatever is wrong with it
        yield f"{call.tool_name}({call.arguments_json}): {str(error).splitlines()[0]}"


def _problems_of_stream(answer: CallAnswer, index: int, dialect: ToolPromptFormat) -> Iterator[str]:
    """STARTED, fragments that join to the call as the model wrote it, and the call."""
    started, *fragments, ended = answer.deltas[index]
    call = ended.tool_call
    if not isinstance(call, ToolCall) or started.parse_status is not ToolCallParseStatus.STARTED:
        yield f"the deltas of call {index} have no beginning or no end"
        return
    complete = call.verdict is ToolCallVerdict.COMPLETE
    if ended.parse_status is not ENDS[complete] or {d.call_id for d in answer.deltas[index]} != {call.call_id}:
        yield f"the deltas of call {index} disagree with it"
    raw = "".join(str(delta.tool_call) for delta in fragments)
    if not complete and raw != call.raw_text:
        yield f"the fragments {raw!r} are not the call's raw text {call.raw_text!r}"
    if complete and not _says(raw, call, dialect):
        yield f"the fragments {raw!r} don't join to {call.tool_name}({call.arguments_json})"


def _says(raw: str, call: ToolCall, dialect: ToolPromptFormat) -> bool:
    """Whether a call as the model wrote it is this one, read with nothing of the service's."""
    arguments = json.loads(call.arguments_json)
    match dialect:
        case ToolPromptFormat.JSON:
            return _loaded(raw) == {"type": "function", "name": call.tool_name, "parameters": arguments}
        case ToolPromptFormat.FUNCTION_TAG:
            written = raw.removeprefix(f"<function={call.tool_name}>").removesuffix("</function>")
            return len(written) == len(raw) - len(f"<function={call.tool_name}></function>") and (
                _loaded(written) == arguments
            )
        case ToolPromptFormat.PYTHON_LIST:
            return raw.startswith(f"{call.tool_name}(") and _keywords(raw) in (None, arguments)


def _loaded(text: str) -> Any:
    """JSON, in whose strings control characters may stand as they are: a few tokens of models hold them."""
    return json.loads(text, strict=False)


def _keywords(raw: str) -> dict[str, Any] | None:
    """The arguments of a Python call; None where Python itself can't read their names, which then stand in quotes."""
    with suppress(SyntaxError):
        parsed = ast.parse("f" + raw[raw.index("(") :], mode="eval").body
        assert isinstance(parsed, ast.Call)
        return {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in parsed.keywords}
    return None
