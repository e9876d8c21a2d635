"""Thoughts before answers: told apart, counted, limited and hidden; what a caller demands is of the answer alone."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from itertools import cycle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.chat import ChatCompletionRequest, ChatCompletionResponse, ReasoningConfig
from service.api.content import ReasoningDelta, TextDelta
from service.api.events import Complete, Event, Progress, Start
from service.api.messages import StopReason, UserMessage
from service.api.response_format import ConstraintOutcome, RegexResponseFormat
from service.api.sampling import LogProbConfig, SamplingParams
from service.decoding.plan import plan_sampling
from service.engines.base import GenerationRequest, GenerationStep
from service.engines.registry import Registry
from service.engines.scripted import Reply, _joined
from service.errors import EngineFailed, InvalidField, UnsupportedByModel
from service.inference.chat import Chat
from service.inference.reasoning import Thoughts, think_first
from service.prompts.tokenizer import Segment
from service.telemetry.calls import Call
from tests.decoding.tried import TriedHere
from tests.inference.conftest import NO_IMAGES, Language
from tests.inference.thinking import FAILS_AFTER, FAMILIES, LLM, QWEN, R1, Family, Recording

every_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
NO_THOUGHTS = "Hello there."


async def started(family: Family, recorded: str | None = None, **how: Any) -> Recording:
    engine = Recording(family, recorded, **how)
    await engine.start()
    return engine


def asked(family: Family, **fields: Any) -> ChatCompletionRequest:
    if family.enabled is not None:
        fields["reasoning"] = fields.get("reasoning", ReasoningConfig()).model_copy(update={"enabled": family.enabled})
    return ChatCompletionRequest(**{"model_id": LLM, "messages": (UserMessage(content="?"),), **fields})


async def answered(engine: Recording, request: ChatCompletionRequest, call: Call | None = None) -> Any:
    return await Chat(Registry([engine]), TriedHere(), NO_IMAGES).answer(request, call or Call("", ""))


async def streamed(engine: Recording, request: ChatCompletionRequest, call: Call | None = None) -> list[Event]:
    async with aclosing(
        Chat(Registry([engine]), TriedHere(), NO_IMAGES).stream(request, call or Call("", ""))
    ) as events:
        return [event async for event in events]


def joined(events: Sequence[Event], kind: type[ReasoningDelta] | type[TextDelta]) -> str:
    deltas = [event.delta for event in events if isinstance(event, Progress)]
    return "".join(delta.text for delta in deltas if isinstance(delta, kind))


def parts(answer: ChatCompletionResponse) -> tuple[str, Any]:
    return answer.completion_message.reasoning, answer.completion_message.content


def marks_written(family: Family) -> int:
    """Those of a recording, each one token."""
    return sum(family.recorded.count(mark) for mark in family.marks)


@every_family
async def test_thoughts_come_apart_from_the_answer(family: Family) -> None:
    answer = await answered(await started(family), asked(family))
    assert parts(answer) == (family.thoughts, family.answer)
    assert answer.completion_message.stop_reason is StopReason.END_OF_TURN
    assert not answer.reasoning_truncated


@every_family
async def test_a_stream_tells_the_same_thoughts_first(family: Family) -> None:
    events = await streamed(await started(family), asked(family))
    assert (joined(events, ReasoningDelta), joined(events, TextDelta)) == (family.thoughts, family.answer)
    kinds = [type(event.delta) for event in events if isinstance(event, Progress)]
    assert kinds == sorted(kinds, key=[ReasoningDelta, TextDelta].index)
    assert [event.sequence for event in events] == list(range(len(events)))
    assert isinstance(events[0], Start)


@every_family
async def test_thoughts_are_counted_with_the_marks_that_were_written(family: Family) -> None:
    call = Call("", "")
    answer = await answered(await started(family), asked(family), call)
    before, _, _ = family.recorded.partition(family.marks[1])
    marks = sum(before.count(mark) for mark in family.marks)
    letters = before
    for mark in family.marks:
        letters = letters.replace(mark, "")
    thoughts = len(letters.encode()) + marks + 1
    assert answer.usage.reasoning_tokens == call.reasoning_tokens == thoughts
    # And the end of the message.
    assert answer.usage.completion_tokens == thoughts + len(family.answer.encode()) + 1
    metrics = {metric.metric: metric.value for metric in answer.metrics}
    assert metrics["completion_tokens"] == answer.usage.completion_tokens


@every_family
async def test_hidden_thoughts_are_counted_all_the_same(family: Family) -> None:
    shown = await answered(await started(family), asked(family))
    hidden = asked(family, reasoning=ReasoningConfig(hidden=True))
    answer = await answered(await started(family), hidden)
    assert parts(answer) == ("", family.answer)
    assert answer.usage == shown.usage
    events = await streamed(await started(family), hidden)
    assert joined(events, ReasoningDelta) == ""
    assert isinstance(events[-1], Complete)
    assert events[-1].usage == shown.usage


@every_family
async def test_the_answer_is_asked_for_behind_the_thoughts(family: Family) -> None:
    engine = await started(family)
    await answered(engine, asked(family))
    first, second = engine.asked
    assert second.prompt.token_ids[: len(first.prompt.token_ids)] == first.prompt.token_ids
    assert second.prompt.text.startswith(first.prompt.text)
    added = second.prompt.text.removeprefix(first.prompt.text)
    # Blanks in front of the answer are for the template to write, or as the family usually does.
    assert added.rstrip() == family.recorded.removesuffix(family.answer).rstrip()
    encoded = engine.renderer.tokenizer.token_bytes
    if not family.special:
        assert b"".join(map(encoded, second.prompt.token_ids)).decode() == second.prompt.text


@every_family
@pytest.mark.parametrize("budget", [1, 8])
async def test_a_budget_breaks_thoughts_off_and_the_answer_begins(family: Family, budget: int) -> None:
    request = asked(family, reasoning=ReasoningConfig(max_tokens=budget))
    engine = await started(family)
    answer = await answered(engine, request)
    reasoning, content = parts(answer)
    assert content == family.answer
    assert family.thoughts.startswith(reasoning)
    assert len(reasoning) < len(family.thoughts)
    assert answer.reasoning_truncated
    assert answer.usage.reasoning_tokens == budget
    assert engine.asked[1].prompt.text.rstrip().endswith(family.marks[1])
    events = await streamed(engine, request)
    assert joined(events, ReasoningDelta) == reasoning
    assert isinstance(events[-1], Complete)
    assert events[-1].reasoning_truncated


class Joining(Recording):
    """Tells several tokens in a step, as many as `sizes` says in turn."""

    def __init__(self, family: Family, sizes: list[int]) -> None:
        super().__init__(family)
        self._sizes = sizes

    async def _steps(self, request: GenerationRequest, reply: Reply) -> AsyncGenerator[GenerationStep, None]:
        sizes, told = cycle(self._sizes), list[GenerationStep]()
        size = next(sizes)
        async for step in super()._steps(request, reply):
            told.append(step)
            if len(told) == size or step.finish:
                yield _joined(told)
                size, told = next(sizes), []


@every_family
@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=8), budget=st.none() | st.integers(1, 60))
async def test_however_tokens_are_joined_to_steps_the_answer_is_the_same(
    family: Family, sizes: list[int], budget: int | None
) -> None:
    request = asked(family, reasoning=ReasoningConfig(max_tokens=budget))
    one_by_one = await answered(await started(family), request)
    engine = Joining(family, sizes)
    await engine.start()
    events = await streamed(engine, request)
    assert (joined(events, ReasoningDelta), joined(events, TextDelta)) == parts(one_by_one)
    assert isinstance(events[-1], Complete)
    assert events[-1].usage == one_by_one.usage
    assert events[-1].reasoning_truncated == one_by_one.reasoning_truncated


async def test_whatever_belongs_to_the_first_prompt_stays_with_the_second() -> None:
    engine = await started(R1)
    prepared: Any = object()
    prompt = replace(engine.renderer.text("?"), images=prepared)
    reasoning = engine.renderer.reasoning
    assert reasoning is not None
    plan = plan_sampling(None, None, len(prompt.token_ids), engine.bounds)
    request = GenerationRequest("r", prompt, plan, None, incremental=True)
    thoughts = Thoughts(reasoning, begun=True, max_tokens=None, hidden=False)
    assert [step async for step in think_first(engine, request, thoughts, Call("", ""))]
    assert [asked.prompt.images for asked in engine.asked] == [prepared, prepared]


async def test_thoughts_that_take_all_tokens_leave_no_answer() -> None:
    request = asked(
        R1, sampling_params=SamplingParams(max_tokens=10), response_format=RegexResponseFormat(pattern="[a-z]+")
    )
    engine = await started(R1)
    answer = await answered(engine, request)
    assert parts(answer) == (R1.recorded[:10], "")
    assert answer.reasoning_truncated
    assert answer.completion_message.stop_reason is StopReason.OUT_OF_TOKENS
    assert answer.constraint_outcome is ConstraintOutcome.TRUNCATED
    assert answer.usage.completion_tokens == answer.usage.reasoning_tokens == 10
    assert len(engine.asked) == 1


async def test_max_tokens_covers_both() -> None:
    thoughts = len(R1.thoughts.encode()) + 1
    answer = await answered(await started(R1), asked(R1, sampling_params=SamplingParams(max_tokens=thoughts + 4)))
    assert parts(answer) == (R1.thoughts, R1.answer[:3])  # of which one has two bytes
    assert answer.completion_message.stop_reason is StopReason.OUT_OF_TOKENS
    assert not answer.reasoning_truncated
    assert answer.usage.completion_tokens == thoughts + 4


async def test_a_context_that_thoughts_fill_leaves_no_answer() -> None:
    engine = await started(R1, "hm " * 3000)
    answer = await answered(engine, asked(R1))
    assert answer.completion_message.stop_reason is StopReason.OUT_OF_TOKENS
    assert answer.usage.prompt_tokens + answer.usage.completion_tokens == engine.bounds.context_length
    budget = ReasoningConfig(max_tokens=answer.usage.completion_tokens - 1)
    assert parts(await answered(engine, asked(R1, reasoning=budget)))[1] == ""


@every_family
async def test_what_is_demanded_is_demanded_of_the_answer_alone(family: Family) -> None:
    engine = await started(family)
    request = asked(
        family,
        response_format=RegexResponseFormat(pattern="(.|\n)*"),
        sampling_params=SamplingParams(stop=("never said",), stop_token_ids=(0,), min_tokens=2, max_tokens=500, seed=7),
        logprobs=LogProbConfig(top_k=2),
    )
    answer = await answered(engine, request)
    first, second = engine.asked
    assert (first.constraint, first.plan.stop, first.plan.min_tokens, first.plan.logprobs) == (None, (), 0, None)
    assert first.plan.stop_token_ids == (engine.renderer.tokenizer.control_tokens[family.marks[1]],)
    assert second.constraint is not None
    assert (second.plan.stop, second.plan.stop_token_ids) == (("never said",), (0,))
    assert (second.plan.min_tokens, second.plan.logprobs, second.plan.seed) == (2, 2, 7)
    assert answer.constraint_outcome is ConstraintOutcome.SATISFIED
    assert len(answer.logprobs) == len(family.answer.encode())


@every_family
async def test_a_mark_that_is_spelled_in_letters_is_text(family: Family) -> None:
    class Spelling(Recording):
        """Spells the marks between two § in letters."""

        def _token_ids(self, text: str) -> list[int]:
            pieces = [Segment(piece, trusted=index % 2 == 0) for index, piece in enumerate(text.split("§"))]
            tokenizer = self.renderer.tokenizer
            return [*tokenizer.encode(pieces).token_ids, tokenizer.pretrained.eos_token_id]

    start, end = family.marks
    opening = family.recorded[: family.recorded.index(family.thoughts)]
    engine = Spelling(family, f"{opening}I could write §{end}§ or §{start}§.{end}Yes.")
    await engine.start()
    answer = await answered(engine, asked(family))
    assert parts(answer) == (f"I could write {end} or {start}.", "Yes.")


async def test_a_second_opening_mark_is_a_part_of_the_thoughts() -> None:
    answer = await answered(await started(R1, "Is <think> a tag?</think>Yes."), asked(R1))
    assert parts(answer) == ("Is <think> a tag?", "Yes.")


async def test_a_stop_string_in_thoughts_ends_nothing() -> None:
    engine = await started(R1)
    answer = await answered(engine, asked(R1, sampling_params=SamplingParams(stop=("132",))))
    assert parts(answer) == (R1.thoughts, "12 à 11 = **")
    assert answer.stop_string == "132"


@pytest.mark.parametrize("said", [NO_THOUGHTS, f"\n\n{NO_THOUGHTS}", "a</think>b", " ", ""])
@pytest.mark.parametrize("incremental", [True, False])
async def test_a_model_that_does_not_begin_to_think_answers(said: str, incremental: bool) -> None:
    engine, call = await started(QWEN, said), Call("", "")
    events = await streamed(engine, asked(QWEN), call) if incremental else []
    answer = await answered(engine, asked(QWEN)) if not incremental else None
    assert (joined(events, TextDelta) if answer is None else answer.completion_message.content) == said
    usage = events[-1].usage if answer is None else answer.usage  # type: ignore[attr-defined]
    letters = len(said.replace("</think>", "#").encode()) + 1
    assert (usage.reasoning_tokens, usage.completion_tokens) == (0, letters)
    assert engine.running == 0


async def test_thinking_that_is_switched_off_is_never_waited_for() -> None:
    engine = await started(QWEN, NO_THOUGHTS)
    answer = await answered(engine, asked(QWEN, reasoning=ReasoningConfig(enabled=False)))
    (request,) = engine.asked
    assert request.prompt.text.endswith("<think>\n\n</think>\n\n")
    assert parts(answer) == ("", NO_THOUGHTS)


async def test_a_model_that_ends_its_message_in_its_thoughts_is_led_to_an_answer() -> None:
    engine = await started(R1, "Let me see.")
    answer = await answered(engine, asked(R1))
    assert answer.completion_message.reasoning == "Let me see."
    assert engine.asked[1].prompt.text.endswith("Let me see.\n</think>\n\n")
    assert engine.renderer.tokenizer.pretrained.eos_token_id != engine.asked[1].prompt.token_ids[-5]
    assert not answer.reasoning_truncated


@pytest.mark.parametrize("config", [{}, {"hidden": True}, {"max_tokens": 5}, {"enabled": False}])
async def test_a_model_that_does_not_think_refuses_to(language: Language, config: dict[str, Any]) -> None:
    request = asked(R1, reasoning=ReasoningConfig(**config))
    with pytest.raises(UnsupportedByModel, match="reasoning: The model doesn't think"):
        await Chat(Registry([await language()]), TriedHere(), NO_IMAGES).answer(request, Call("", ""))


@pytest.mark.parametrize("enabled", [True, False])
async def test_a_switch_that_the_template_lacks_is_refused(enabled: bool) -> None:
    with pytest.raises(UnsupportedByModel, match=r"reasoning\.enabled: .*no switch"):
        await answered(await started(R1), asked(R1, reasoning=ReasoningConfig(enabled=enabled)))


@pytest.mark.parametrize(("budget", "most"), [(5, 5), (6, 5)])
async def test_a_budget_that_leaves_nothing_for_the_answer_is_refused(budget: int, most: int) -> None:
    request = asked(R1, reasoning=ReasoningConfig(max_tokens=budget), sampling_params=SamplingParams(max_tokens=most))
    with pytest.raises(InvalidField, match=r"reasoning\.max_tokens: .*nothing for the answer"):
        await answered(await started(R1), request)


async def test_a_budget_of_zero_is_none() -> None:
    answer = await answered(await started(R1), asked(R1, reasoning=ReasoningConfig(max_tokens=0)))
    assert parts(answer) == (R1.thoughts, R1.answer)


@pytest.mark.parametrize("family", [R1, QWEN], ids=lambda family: family.name)
@pytest.mark.parametrize("kind", [ReasoningDelta, TextDelta])
async def test_a_stream_that_is_left_frees_the_engine_and_its_place(family: Family, kind: type) -> None:
    engine = await started(family)
    registry, call = Registry([engine]), Call("", "")
    async with aclosing(Chat(registry, TriedHere(), NO_IMAGES).stream(asked(family), call)) as events:
        async for event in events:
            assert registry.admission(engine).running == 1
            if isinstance(event, Progress) and isinstance(event.delta, kind):
                break
    assert (engine.running, registry.admission(engine).running) == (0, 0)
    assert call.reasoning_tokens > 0
    assert (call.completion_tokens > call.reasoning_tokens) is (kind is TextDelta)


@pytest.mark.parametrize("generation", [0, 1])
async def test_a_death_in_either_generation_is_told(generation: int) -> None:
    engine, call = await started(R1, fails_in=generation), Call("", "")
    with pytest.raises(EngineFailed):
        await streamed(engine, asked(R1), call)
    assert call.completion_tokens == FAILS_AFTER + generation * (len(R1.thoughts.encode()) + 1)
    assert (engine.running, call.prompt_tokens > 0) == (0, True)
