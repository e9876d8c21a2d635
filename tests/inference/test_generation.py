"""From steps of an engine to the events of an answer."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.content import TextDelta
from service.api.events import Complete, Event, Progress, Start
from service.api.messages import StopReason
from service.api.response_format import ConstraintOutcome, RegexResponseFormat
from service.api.sampling import LogProbConfig, SamplingParams
from service.decoding.constraint import answer_format_of
from service.decoding.plan import plan_sampling
from service.engines.base import GenerationRequest, GenerationStep
from service.engines.registry import Registry
from service.engines.scripted import Reply, ScriptedLanguageEngine
from service.errors import EngineFailed, InternalError
from service.inference.generation import WholeAnswer, collect, generate
from service.inference.planning import GenerationPlan
from service.settings import LimitSettings
from service.telemetry.calls import Call
from tests.inference.conftest import LIMITS, LLM, Language

LONG = "Zürich 東京 🦊 and so on, and so on."
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


def plan(
    engine: ScriptedLanguageEngine, *, logprobs: int | None = None, pattern: str | None = None, **params: Any
) -> GenerationPlan:
    prompt = engine.renderer.text("Once")
    config = None if logprobs is None else LogProbConfig(top_k=logprobs)
    sampling = plan_sampling(SamplingParams(**params), config, len(prompt.token_ids), engine.bounds)
    constraint = None if pattern is None else answer_format_of(RegexResponseFormat(pattern=pattern), 1000)
    return GenerationPlan(prompt, sampling, constraint.constraint if constraint else None, constraint)


def generated(
    engine: ScriptedLanguageEngine, plan: GenerationPlan, call: Call, *, incremental: bool
) -> AsyncGenerator[Event, None]:
    return generate(engine, Registry([engine]).admission(engine), plan, call, incremental=incremental)


async def events(engine: ScriptedLanguageEngine, call: Call, **params: Any) -> list[Event]:
    async with aclosing(generated(engine, plan(engine, **params), call, incremental=True)) as answer:
        return [event async for event in answer]


async def whole(engine: ScriptedLanguageEngine, call: Call, **params: Any) -> WholeAnswer:
    async with aclosing(generated(engine, plan(engine, **params), call, incremental=False)) as answer:
        return await collect(answer)


def text_of(progress: list[Event]) -> str:
    return "".join(event.delta.text for event in progress if isinstance(event, Progress))


async def test_an_answer_is_one_start_progress_and_one_complete_numbered(language: Language, call: Call) -> None:
    first, *progress, last = await events(await language(LONG), call)
    assert first == Start(0, LLM, "r-1")
    assert all(isinstance(event, Progress) for event in progress)
    assert isinstance(last, Complete)
    assert [event.sequence for event in (first, *progress, last)] == list(range(len(progress) + 2))


async def test_progress_is_never_empty_and_always_whole_characters(language: Language, call: Call) -> None:
    _, *progress, _ = await events(await language(LONG), call)
    assert all(isinstance(event.delta, TextDelta) and event.delta.text for event in progress)
    assert [event.delta.text for event in progress] == list(LONG)


async def test_an_empty_answer_has_no_progress(language: Language, call: Call) -> None:
    first, last = await events(await language(""), call)
    assert isinstance(first, Start)
    assert isinstance(last, Complete)
    assert last.usage.completion_tokens == 1


@given(text=texts, stop=st.lists(st.text("ab東", min_size=1, max_size=3), max_size=3), max_tokens=st.integers(0, 40))
async def test_the_deltas_join_to_the_unary_answer(text: str, stop: list[str], max_tokens: int) -> None:
    engine = ScriptedLanguageEngine(LLM, LimitSettings(), lambda _: Reply(text))
    asked = {"stop": tuple(stop), "max_tokens": max_tokens, "logprobs": 2}
    streamed = await events(engine, Call("", ""), **asked)
    unary = await whole(engine, Call("", ""), **asked)

    assert text_of(streamed) == unary.text
    assert [p for event in streamed if isinstance(event, Progress) for p in event.logprobs] == unary.logprobs
    last = streamed[-1]
    assert isinstance(last, Complete)
    assert (last.stop_reason, last.usage) == (unary.complete.stop_reason, unary.complete.usage)


@pytest.mark.parametrize("stop", [("and",), ("and so", "nothing"), ("d so", "and"), ("東京 🦊 and",)])
async def test_a_stop_string_ends_the_answer_and_is_not_returned(
    language: Language, call: Call, stop: tuple[str, ...]
) -> None:
    """Each is split over several tokens."""
    _, *progress, last = await events(await language(LONG), call, stop=stop)
    found = min((s for s in stop if s in LONG), key=lambda s: LONG.index(s) + len(s))
    assert text_of(progress) == LONG[: LONG.index(found)]
    assert isinstance(last, Complete)
    assert (last.stop_reason, last.stop_string) == (StopReason.END_OF_TURN, found)


async def test_a_stop_string_that_never_comes_holds_nothing_back_for_good(language: Language, call: Call) -> None:
    assert text_of(await events(await language(LONG), call, stop=("and so long",))) == LONG


async def test_the_token_budget_ends_the_answer(language: Language, call: Call) -> None:
    _, *progress, last = await events(await language("abcdef"), call, max_tokens=3)
    assert text_of(progress) == "abc"
    assert isinstance(last, Complete)
    assert (last.stop_reason, last.usage.completion_tokens) == (StopReason.OUT_OF_TOKENS, 3)


async def test_usage_counts_every_token_the_stop_token_too(language: Language, call: Call) -> None:
    complete = (await whole(await language("abc"), call)).complete
    assert (complete.usage.prompt_tokens, complete.usage.completion_tokens) == (len("Once"), 4)
    assert (call.prompt_tokens, call.cached_tokens, call.completion_tokens) == (4, 0, 4)


async def test_metrics_say_the_same_in_their_order(language: Language, call: Call) -> None:
    complete = (await whole(await language("abc"), call)).complete
    assert [(m.metric, m.value, m.unit) for m in complete.metrics] == [
        ("prompt_tokens", 4, "tokens"),
        ("completion_tokens", 4, "tokens"),
        ("total_tokens", 8, "tokens"),
    ]
    assert {(m.trace_id, m.span_id) for m in complete.metrics} == {(call.trace_id, call.span_id)}
    assert all(m.attributes == {"model_id": LLM, "provider_id": "scripted"} for m in complete.metrics)


async def test_time_goes_in_order(language: Language, call: Call) -> None:
    timings = (await whole(await language(Reply("ab", step_s=0.002)), call)).complete.timings
    assert timings.time_to_first_token_s is not None
    assert 0 <= timings.queued_s <= timings.time_to_first_token_s <= timings.total_s


@pytest.mark.parametrize(
    ("pattern", "params", "outcome"),
    [
        (None, {}, None),
        ("[a-f]+", {}, ConstraintOutcome.SATISFIED),
        ("[a-f]+", {"max_tokens": 3}, ConstraintOutcome.SATISFIED),
        ("abcdef", {"max_tokens": 3}, ConstraintOutcome.TRUNCATED),
        ("abcdef", {"stop": ("de",)}, ConstraintOutcome.TRUNCATED),
        ("abc", {"stop": ("de",)}, ConstraintOutcome.SATISFIED),
        ("abcdefg", {}, ConstraintOutcome.VIOLATED),
    ],
)
@pytest.mark.parametrize("answered", [events, whole], ids=["streamed", "unary"])
async def test_the_end_tells_whether_the_answer_has_its_shape(
    language: Language,
    call: Call,
    answered: Any,
    pattern: str | None,
    params: dict[str, Any],
    outcome: ConstraintOutcome | None,
) -> None:
    answer = await answered(await language("abcdef"), call, pattern=pattern, **params)
    complete = answer.complete if isinstance(answer, WholeAnswer) else answer[-1]
    assert complete.constraint_outcome is outcome


async def test_each_token_with_a_part_in_the_text_has_log_probabilities(language: Language, call: Call) -> None:
    """One byte a token; the stop token has none."""
    answer = await whole(await language(LONG), call, logprobs=0)
    assert b"".join(position.token.token_bytes for position in answer.logprobs) == LONG.encode()


async def test_they_come_with_the_text_that_they_are_for(language: Language, call: Call) -> None:
    _, *progress, last = await events(await language(LONG), call, logprobs=1)
    assert not getattr(last, "logprobs", ())
    for event in progress:
        assert b"".join(position.token.token_bytes for position in event.logprobs) == event.delta.text.encode()
        assert all(len(position.top) == 1 for position in event.logprobs)


@pytest.mark.parametrize(
    ("params", "count"),
    [
        ({"max_tokens": 3}, 3),
        ({"stop": ("d",)}, 3),
        ({"stop": ("cde",)}, 2),
        ({"stop_token_ids": ("d",)}, 3),
        ({}, 6),
    ],
)
async def test_tokens_that_only_end_the_answer_have_none(
    language: Language, call: Call, params: dict[str, Any], count: int
) -> None:
    engine = await language("abcdef")
    if "stop_token_ids" in params:
        params = {"stop_token_ids": tuple(engine.renderer.tokenizer.encode_untrusted("d").token_ids)}
    assert len((await whole(engine, call, logprobs=0, **params)).logprobs) == count


async def test_without_being_asked_for_there_are_none(language: Language, call: Call) -> None:
    assert (await whole(await language(LONG), call)).logprobs == []


async def test_closing_an_answer_frees_the_engine(language: Language, call: Call) -> None:
    engine = await language(LONG)
    async with aclosing(generated(engine, plan(engine), call, incremental=True)) as answer:
        await anext(answer)
        assert engine.running == 1
    assert engine.running == 0


@pytest.mark.parametrize("answered", [events, whole], ids=["streamed", "unary"])
async def test_an_engine_that_fails_ends_the_answer_with_what_it_had_cost(
    language: Language, call: Call, answered: Any
) -> None:
    engine = await language(Reply("abcdef", fail_after=3))
    with pytest.raises(EngineFailed):
        await answered(engine, call)
    assert (call.prompt_tokens, call.completion_tokens, engine.running) == (4, 3, 0)


class BreaksOff(ScriptedLanguageEngine):
    """Ends without saying so."""

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[GenerationStep, None]:
        yield GenerationStep("a", 1)


@pytest.mark.parametrize("answered", [events, whole], ids=["streamed", "unary"])
async def test_an_answer_that_breaks_off_is_a_failure_not_an_end(call: Call, answered: Any) -> None:
    with pytest.raises(InternalError):
        await answered(BreaksOff(LLM, LIMITS), call)


async def test_an_answer_without_an_end_cannot_be_collected() -> None:
    async def endless() -> AsyncGenerator[Event, None]:
        yield Start(0, LLM, "r-1")

    with pytest.raises(RuntimeError):
        await collect(endless())
