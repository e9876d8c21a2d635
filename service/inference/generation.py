"""From the steps of an engine to the events of an answer; the same for chat and completion, streamed or not."""

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from service.api.content import ContentDelta, ReasoningDelta, TextDelta, ToolCallDelta
from service.api.events import Complete, Event, Progress, Start
from service.api.messages import StopReason
from service.api.response_format import ConstraintOutcome
from service.api.sampling import TokenLogProbs
from service.api.tools import ToolCall
from service.api.usage import MetricEvent, Timings, Usage
from service.engines.admission import Admission
from service.engines.base import Finish, FinishReason, GenerationRequest, GenerationStep, LanguageEngine
from service.errors import DeadlineExceeded, InternalError
from service.inference.logprobs import LogprobAligner
from service.inference.planning import GenerationPlan
from service.inference.reading import AnswerReader
from service.inference.reasoning import ThoughtStep, think_first
from service.telemetry.calls import Call
from service.telemetry.traces import describe_request, record_answer, record_prompt


async def generate(
    engine: LanguageEngine, admission: Admission, plan: GenerationPlan, call: Call, *, incremental: bool
) -> AsyncGenerator[Event, None]:
    """The events of an answer: a Start, Progress as text comes, exactly one Complete.

    Waits for a place first. With `incremental` false the engine reports once, at the end, unless the first token has a
    limit of its own. Closing the generator frees the engine and the place.
    """
    incremental = incremental or plan.first_token_timeout is not None
    _trace_request(plan, call)
    first_token = FirstToken(plan.first_token_timeout, call)
    with first_token.in_time():
        async with (
            first_token.limit,
            admission.place(call.identity, plan.tokens, first_token.patience_s) as place,
            aclosing(_answer(engine, plan, call, incremental=incremental)) as events,
        ):
            try:
                async for event in events:
                    first_token.limit.reschedule(None)
                    yield event
            finally:
                place.used = call.prompt_tokens + call.completion_tokens


async def _answer(
    engine: LanguageEngine, plan: GenerationPlan, call: Call, *, incremental: bool
) -> AsyncGenerator[Event, None]:
    request = GenerationRequest(
        # Not the caller's id: two calls may carry the same.
        request_id=uuid.uuid4().hex,
        prompt=plan.prompt,
        plan=plan.sampling,
        constraint=plan.constraint,
        incremental=incremental,
        show_control_tokens=plan.show_control_tokens,
        cache_owner=call.identity,
        unseen=call.count_completion,
    )
    answer = AnswerInProgress(engine, plan, call)
    finish: Finish | None = None
    generated = engine.generate(request) if plan.thoughts is None else think_first(engine, request, plan.thoughts, call)
    async with aclosing(generated) as steps:
        async for step in steps:
            finish = step.finish
            for event in answer.think(step) if isinstance(step, ThoughtStep) else answer.take(step):
                yield event
    if finish is None:
        raise InternalError("The engine broke the answer off.")
    for event in answer.rest(finish):
        yield event
    # In a thread: it may have to read a long text, and to match a caller's pattern.
    outcome = await asyncio.to_thread(answer.judge, finish) if plan.text_format else None
    yield answer.complete(finish, outcome)


def _trace_request(plan: GenerationPlan, call: Call) -> None:
    sampling = plan.sampling
    describe_request(
        max_tokens=sampling.max_tokens,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k or None,
        presence_penalty=sampling.presence_penalty or None,
        frequency_penalty=sampling.frequency_penalty or None,
        seed=sampling.seed,
    )
    if call.records_texts:
        record_prompt(plan.prompt.text)


class FirstToken:
    """How long the first token may take, by the request's own limit and by the call's deadline."""

    def __init__(self, timeout: timedelta | None, call: Call) -> None:
        self._timeout = timeout
        left_s = None if timeout is None else timeout.total_seconds() - call.elapsed_s()
        self.limit = asyncio.timeout(left_s)
        self.patience_s = min((s for s in (left_s, call.remaining_s()) if s is not None), default=None)

    @contextmanager
    def in_time(self) -> Iterator[None]:
        """Raises DeadlineExceeded when the limit has passed."""
        try:
            yield
        except TimeoutError:
            if not self.limit.expired():
                raise
            raise DeadlineExceeded(f"The first token took longer than {self._timeout}.") from None


@asynccontextmanager
async def planned_in_time(limit: timedelta | None, call: Call) -> AsyncIterator[None]:
    """Holds the planning to the `limit` of the first token: it may have to fetch images. Raises DeadlineExceeded."""
    first_token = FirstToken(limit, call)
    with first_token.in_time():
        async with first_token.limit:
            yield


class AnswerInProgress:
    """Turns engine steps into events. Synchronous: feed a step, get its events; ask for the last event at the end."""

    def __init__(self, engine: LanguageEngine, plan: GenerationPlan, call: Call) -> None:
        self._engine = engine
        self._plan = plan
        self._call = call
        self._submitted_s = call.elapsed_s()
        self._sequence = 0
        self._reader = AnswerReader(plan.tool_use)
        tokenizer = engine.renderer.tokenizer
        self._aligner = LogprobAligner(tokenizer.token_bytes if plan.show_control_tokens else tokenizer.visible_bytes)
        self._logprobs: list[TokenLogProbs] = []
        self._reasoning_truncated = False
        call.count_prompt(len(plan.prompt.token_ids))
        call.neutralized_spans = plan.prompt.neutralized_spans

    def think(self, thought: ThoughtStep) -> Iterator[Event]:
        if self._sequence == 0:
            yield self._start(thought.step)
        self._call.count_reasoning(thought.step.tokens)
        self._reasoning_truncated = thought.broken_off
        if thought.text:
            yield self._progress(ReasoningDelta(thought.text))

    def take(self, step: GenerationStep) -> Iterator[Event]:
        if self._sequence == 0:
            yield self._start(step)
        self._call.count_completion(step.tokens)
        if self._plan.sampling.logprobs is not None:
            self._aligner.generated(_of_answer(step))
            self._logprobs += self._aligner.delivered(step.text)
        yield from map(self._progress, self._reader.take(step.text))

    def rest(self, finish: Finish) -> Iterator[Event]:
        """What was held back as long as it could still become a call."""
        deltas = self._reader.close(_ended_early(finish))
        if self._logprobs and not deltas:
            deltas = [TextDelta("")]
        yield from map(self._progress, deltas)

    def _progress(self, delta: ContentDelta) -> Progress:
        # With them those of text that is not shown, such as what stands between two calls.
        logprobs, self._logprobs = self._logprobs, []
        ends_call = isinstance(delta, ToolCallDelta) and isinstance(delta.tool_call, ToolCall)
        return Progress(self._next(), delta, logprobs, StopReason.END_OF_MESSAGE if ends_call else None)

    def _next(self) -> int:
        self._sequence += 1
        return self._sequence - 1

    def _start(self, step: GenerationStep) -> Start:
        self._call.first_token_s = self._submitted_s + step.first_token_s
        self._call.queued_s = self._submitted_s + step.queued_s
        self._call.cached_tokens = step.cached_tokens
        return Start(self._next(), self._engine.identifier, self._call.request_id)

    def complete(self, finish: Finish, outcome: ConstraintOutcome | None) -> Complete:
        call, stop_reason = self._call, self._stop_reason(finish)
        call.stop_reason = stop_reason
        call.constraint_outcome = outcome or ""
        call.tool_verdicts += [tool_call.verdict for tool_call in self._reader.calls if tool_call.verdict]
        if call.records_texts:
            record_answer(self._reader.text, stop_reason)
        usage = Usage(
            call.prompt_tokens,
            call.cached_tokens,
            call.completion_tokens,
            call.neutralized_spans,
            call.reasoning_tokens,
        )
        return Complete(
            sequence=self._next(),
            stop_reason=stop_reason,
            usage=usage,
            timings=Timings(call.queued_s or 0.0, call.first_token_s, call.elapsed_s()),
            metrics=self._metrics(usage),
            constraint_outcome=outcome,
            stop_string=finish.stop_string,
            reasoning_truncated=self._reasoning_truncated,
        )

    def judge(self, finish: Finish) -> ConstraintOutcome | None:
        """Whether the whole text has the shape that was asked for; None for calls, which have their own verdicts.

        None also when that takes too long to tell.
        """
        if self._plan.text_format is None or self._reader.calls:
            return None
        return self._plan.text_format.judge(self._reader.text, _ended_early(finish))

    def _stop_reason(self, finish: Finish) -> StopReason:
        if finish.reason is FinishReason.LENGTH:
            return StopReason.OUT_OF_TOKENS
        expects_answers = finish.stop_token is not None and finish.stop_token == self._engine.renderer.awaiting_token
        if self._reader.has_calls_to_answer or expects_answers:
            return StopReason.END_OF_MESSAGE
        return StopReason.END_OF_TURN

    def _metrics(self, usage: Usage) -> list[MetricEvent]:
        now = time.time()
        model = self._engine.model
        attributes = {"model_id": model.identifier, "provider_id": model.provider_id}
        counts = {
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "total_tokens": usage.total_tokens,
        }
        return [
            MetricEvent(name, count, "tokens", self._call.trace_id, self._call.span_id, now, attributes)
            for name, count in counts.items()
        ]


def _of_answer(step: GenerationStep) -> list[TokenLogProbs]:
    """The log probabilities of a step without those of a stop token, which is no part of the answer."""
    ended_by_token = step.finish and step.finish.reason is FinishReason.STOP and step.finish.stop_string is None
    return list(step.logprobs[:-1] if ended_by_token else step.logprobs)


def _ended_early(finish: Finish) -> bool:
    return finish.reason is FinishReason.LENGTH or finish.stop_string is not None


@dataclass(slots=True)
class WholeAnswer:
    """The events of an answer, joined: what a unary call returns."""

    complete: Complete
    reasoning: str
    text: str
    calls: list[ToolCall]
    logprobs: list[TokenLogProbs]

    def common_fields(self, model_id: str, call: Call) -> dict[str, Any]:
        """What the answers of chat and completion have in common."""
        return {
            "logprobs": self.logprobs,
            "metrics": self.complete.metrics,
            "usage": self.complete.usage,
            "timings": self.complete.timings,
            "constraint_outcome": self.complete.constraint_outcome,
            "model_id": model_id,
            "request_id": call.request_id,
            "stop_string": self.complete.stop_string,
        }


async def collect(events: AsyncIterable[Event]) -> WholeAnswer:
    thoughts: list[str] = []
    texts: list[str] = []
    calls: list[ToolCall] = []
    logprobs: list[TokenLogProbs] = []
    async for event in events:
        match event:
            case Progress(delta=delta):
                logprobs.extend(event.logprobs)
                if isinstance(delta, TextDelta):
                    texts.append(delta.text)
                elif isinstance(delta, ReasoningDelta):
                    thoughts.append(delta.text)
                elif isinstance(delta, ToolCallDelta) and isinstance(delta.tool_call, ToolCall):
                    calls.append(delta.tool_call)
            case Complete():
                return WholeAnswer(event, "".join(thoughts), "".join(texts), calls, logprobs)
            case _:
                pass
    raise RuntimeError("The answer ended without a Complete event.")
