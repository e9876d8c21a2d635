"""Completion and chat, streamed and not: what holds on every engine."""

from collections.abc import Callable
from typing import Any

import pytest

from service.api.events import Complete, Progress, Start
from service.api.messages import StopReason
from service.client import Client
from service.errors import InvalidField
from tests.conformance.calls import answer, chat, completion, joined, read, streamed
from tests.conformance.conftest import Served

Ask = Callable[..., Any]
PROMPTS = (
    "The capital of France is",
    "Roses are red, violets are",
    'def greet(name):\n    """Says hello."""',
    "日本の首都は",
    "🦊🐻🐼 Name these animals.",
    "Ünïcödé naïveté, a\u0308 e\u0301,",
)
both = pytest.mark.parametrize("ask", [completion, chat])


@both
async def test_an_answer_has_text_and_says_why_it_stopped(client: Client, ask: Ask) -> None:
    found = await answer(client, ask("The capital of France is", max_tokens=12))
    assert found.text
    assert found.stop_reason in (StopReason.OUT_OF_TOKENS, StopReason.END_OF_TURN)
    assert found.outcome is None


@both
async def test_a_stream_starts_progresses_and_completes(client: Client, ask: Ask) -> None:
    stream = client.stream_chat if ask is chat else client.stream_completion
    events = await read(stream(ask("The capital of France is", max_tokens=8), request_id="mine"))
    assert isinstance(events[0], Start)
    assert (events[0].model_id, events[0].request_id) == ("smollm2-135m-instruct", "mine")
    assert {type(event) for event in events[1:-1]} == {Progress}
    assert isinstance(events[-1], Complete)
    assert [event.sequence for event in events] == list(range(len(events)))


@both
@pytest.mark.parametrize("prompt", PROMPTS)
async def test_a_stream_joined_is_the_unary_answer(client: Client, ask: Ask, prompt: str) -> None:
    request = ask(prompt, max_tokens=16, top_logprobs=2)
    once, again = await answer(client, request), await streamed(client, request)
    assert (once.text, once.stop_reason, once.usage) == (again.text, again.stop_reason, again.usage)
    assert [p.token.token_id for p in once.logprobs] == [p.token.token_id for p in again.logprobs]
    assert [p.token.logprob for p in once.logprobs] == pytest.approx(
        [p.token.logprob for p in again.logprobs], abs=1e-3
    )


@both
async def test_a_budget_that_is_used_up_is_the_stop_reason(client: Client, ask: Ask) -> None:
    found = await answer(client, ask("1, 2, 3, 4,", max_tokens=6))
    assert found.stop_reason is StopReason.OUT_OF_TOKENS
    assert found.usage.completion_tokens == 6


@both
async def test_without_a_budget_the_model_ends_its_turn(client: Client, ask: Ask) -> None:
    prompt = "Hi" if ask is chat else "Roses are red,"
    unset, zero = await answer(client, ask(prompt)), await answer(client, ask(prompt, max_tokens=0))
    assert unset.stop_reason is StopReason.END_OF_TURN
    assert unset.usage.completion_tokens > 16  # the engine's own default
    assert unset == zero


@both
async def test_a_stop_string_ends_the_answer_and_is_not_returned(client: Client, ask: Ask) -> None:
    full = (await answer(client, ask("Tell me about Paris.", max_tokens=16))).text
    stop = full[7:12]  # begins and ends within words, hence within tokens
    cut = ask("Tell me about Paris.", max_tokens=16, stop=(stop,))
    found, again = await answer(client, cut), await streamed(client, cut)
    assert found.text == again.text == full[: full.index(stop)]
    assert found.stop_reason is again.stop_reason is StopReason.END_OF_TURN


@both
async def test_the_first_of_several_stop_strings_counts(client: Client, ask: Ask) -> None:
    full = (await answer(client, ask("Tell me about Paris.", max_tokens=16))).text
    first, later = full[5:9], full[10:13]
    found = await answer(client, ask("Tell me about Paris.", max_tokens=16, stop=(later, "never said", first)))
    assert found.text == full[: min(full.index(first), full.index(later))]


@both
async def test_metrics_repeat_the_usage(client: Client, ask: Ask) -> None:
    call = client.chat if ask is chat else client.complete
    found = await call(ask("Hi", max_tokens=5))
    assert {metric.metric: metric.value for metric in found.metrics} == {
        "prompt_tokens": found.usage.prompt_tokens,
        "completion_tokens": found.usage.completion_tokens,
        "total_tokens": found.usage.prompt_tokens + found.usage.completion_tokens,
    }
    assert [metric.metric for metric in found.metrics] == ["prompt_tokens", "completion_tokens", "total_tokens"]
    assert {metric.unit for metric in found.metrics} == {"tokens"}
    assert {metric.attributes["model_id"] for metric in found.metrics} == {"smollm2-135m-instruct"}


@both
async def test_a_stream_ends_with_usage_timings_and_metrics(client: Client, ask: Ask) -> None:
    stream = client.stream_chat if ask is chat else client.stream_completion
    *_, complete = await read(stream(ask("Hi", max_tokens=5)))
    assert isinstance(complete, Complete)
    assert [metric.value for metric in complete.metrics] == [
        complete.usage.prompt_tokens,
        complete.usage.completion_tokens,
        complete.usage.total_tokens,
    ]
    assert complete.timings.total_s > 0


@both
async def test_timings_are_in_order(client: Client, ask: Ask) -> None:
    call = client.chat if ask is chat else client.complete
    timings = (await call(ask("Hi", max_tokens=5))).timings
    assert timings.time_to_first_token_s is not None
    assert 0 <= timings.queued_s <= timings.time_to_first_token_s <= timings.total_s < 300


async def test_usage_counts_a_completion_s_prompt_as_the_tokenizer_does(client: Client, served: Served) -> None:
    text = "How many tokens are 12345 and 日本?"
    found = await client.complete(completion(text, max_tokens=1))
    assert found.usage.prompt_tokens == len(served.tokenizer.encode(text, add_special_tokens=False))


@both
async def test_more_minimum_than_maximum_is_refused_before_any_event(client: Client, ask: Ask) -> None:
    request = ask("Hi", max_tokens=2, min_tokens=3)
    stream = client.stream_chat if ask is chat else client.stream_completion
    with pytest.raises(InvalidField, match=r"sampling_params\.min_tokens"):
        await anext(stream(request))
    with pytest.raises(InvalidField, match=r"sampling_params\.min_tokens"):
        await answer(client, request)


async def test_a_stream_of_nothing_but_the_end_is_whole_too(client: Client) -> None:
    first = (await answer(client, completion("Hi", max_tokens=1))).text
    if not first.strip():
        pytest.skip("the first token is no text")
    found = joined(await read(client.stream_completion(completion("Hi", max_tokens=4, stop=(first,)))))
    assert (found.text, found.stop_reason, found.usage.completion_tokens) == ("", StopReason.END_OF_TURN, 1)
