"""The scripted engine keeps to the limits of a request as vLLM does."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.models import ModelState, ModelType
from service.api.sampling import LogProbConfig, SamplingParams
from service.decoding.plan import plan_sampling
from service.engines.base import Finish, FinishReason, GenerationRequest, GenerationStep
from service.engines.scripted import (
    CONTEXT_LENGTH,
    DEFAULT_REPLY,
    Reply,
    ScriptedEmbeddingEngine,
    ScriptedLanguageEngine,
    build,
)
from service.errors import EngineFailed
from service.settings import EngineKind, LimitSettings, ModelSettings, Settings

STOP, LENGTH = FinishReason.STOP, FinishReason.LENGTH
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def engine_of(reply: Reply | str) -> ScriptedLanguageEngine:
    said = Reply(reply) if isinstance(reply, str) else reply
    return ScriptedLanguageEngine("m", LimitSettings(), lambda _: said)


def request(engine: ScriptedLanguageEngine, *, incremental: bool, **params: Any) -> GenerationRequest:
    logprobs = params.pop("logprobs", None)
    prompt = engine.renderer.text("Once")
    config = None if logprobs is None else LogProbConfig(top_k=logprobs)
    plan = plan_sampling(SamplingParams(**params), config, len(prompt.token_ids), engine.bounds)
    return GenerationRequest("r", prompt, plan, None, incremental)


async def steps(reply: Reply | str, *, incremental: bool = True, **params: Any) -> list[GenerationStep]:
    engine = engine_of(reply)
    async with aclosing(engine.generate(request(engine, incremental=incremental, **params))) as generated:
        return [step async for step in generated]


async def said(reply: str, **params: Any) -> tuple[str, int, Finish | None]:
    (step,) = await steps(reply, incremental=False, **params)
    return step.text, step.tokens, step.finish


def ids(text: str) -> tuple[int, ...]:
    return tuple(engine_of("").renderer.tokenizer.encode_untrusted(text).token_ids)


async def test_it_says_its_script() -> None:
    assert await said("Hi.") == ("Hi.", 4, Finish(STOP))


async def test_a_script_answers_the_prompt() -> None:
    engine = ScriptedLanguageEngine("m", LimitSettings(), lambda prompt: Reply(prompt[::-1]))
    async with aclosing(engine.generate(request(engine, incremental=False))) as generated:
        assert [step.text async for step in generated] == ["ecnO"]


@pytest.mark.parametrize(
    ("params", "text", "tokens", "finish"),
    [
        ({"max_tokens": 1}, "a", 1, Finish(LENGTH)),
        ({"max_tokens": 6}, "abcabc", 6, Finish(LENGTH)),
        ({"max_tokens": 7}, "abcabc", 7, Finish(STOP)),
        ({"stop": ("ca",)}, "ab", 4, Finish(STOP, "ca")),
        ({"stop": ("x", "bc")}, "a", 3, Finish(STOP, "bc")),
        ({"stop": ("abc", "b")}, "a", 2, Finish(STOP, "b")),
        ({"stop": ("bc",), "min_tokens": 3}, "abca", 6, Finish(STOP, "bc")),
        ({"stop": ("bc",), "min_tokens": 2}, "a", 3, Finish(STOP, "bc")),
        ({"stop": ("bc",), "min_tokens": 6}, "abcabc", 7, Finish(STOP)),
        ({"stop_token_ids": ids("c")}, "ab", 3, Finish(STOP, stop_token=ids("c")[0])),
        ({"stop_token_ids": ids("c"), "min_tokens": 3}, "abcab", 6, Finish(STOP, stop_token=ids("c")[0])),
        ({"min_tokens": 8}, "abcabcabcabc", 14, Finish(STOP)),
        ({"min_tokens": 8, "max_tokens": 8}, "abcabca", 8, Finish(LENGTH)),
    ],
)
async def test_limits_are_honoured(params: dict[str, Any], text: str, tokens: int, finish: Finish) -> None:
    assert await said("abcabc", **params) == (text, tokens, finish)


async def test_a_character_cut_by_the_limit_is_not_shown() -> None:
    assert await said("é!", max_tokens=1) == ("", 1, Finish(LENGTH))


@given(text=texts, stop=st.lists(st.text("ab", min_size=1, max_size=3), max_size=2), max_tokens=st.integers(0, 30))
async def test_steps_join_to_the_single_one(text: str, stop: list[str], max_tokens: int) -> None:
    params = {"stop": tuple(stop), "max_tokens": max_tokens, "logprobs": 1}
    several = await steps(text, **params)
    (single,) = await steps(text, incremental=False, **params)
    assert "".join(step.text for step in several) == single.text
    assert sum(step.tokens for step in several) == single.tokens
    assert [position for step in several for position in step.logprobs] == list(single.logprobs)
    assert [step.finish for step in several] == [None] * (len(several) - 1) + [single.finish]


@pytest.mark.parametrize("top_k", [0, 1, 5, 20])
async def test_log_probabilities_are_those_asked_for(top_k: int) -> None:
    (step,) = await steps("aé", incremental=False, logprobs=top_k)
    assert len(step.logprobs) == step.tokens == 4
    for position in step.logprobs:
        assert len(position.top) == len(position.logprobs_by_token) == top_k
        assert [token.rank for token in position.top] == list(range(1, top_k + 1))
        assert all(token.logprob <= 0 for token in (*position.top, position.token))
        assert position.token.rank == 1


async def test_without_being_asked_for_there_are_none() -> None:
    (step,) = await steps("a", incremental=False)
    assert list(step.logprobs) == []


async def test_it_fails_where_it_is_told_to() -> None:
    engine = engine_of(Reply("abc", fail_after=2))
    generated = engine.generate(request(engine, incremental=True))
    assert [(await anext(generated)).text for _ in range(2)] == ["a", "b"]
    with pytest.raises(EngineFailed):
        await anext(generated)
    assert engine.running == 0


@pytest.mark.parametrize("incremental", [True, False])
async def test_running_counts_while_it_speaks(incremental: bool) -> None:
    engine = engine_of(Reply(step_s=60))
    generated = engine.generate(request(engine, incremental=incremental))
    speaking = asyncio.create_task(first(generated))
    await asyncio.sleep(0.01)
    assert engine.running == 1
    speaking.cancel()
    await asyncio.gather(speaking, return_exceptions=True)
    await generated.aclose()
    assert engine.running == 0


async def first(generated: AsyncGenerator[GenerationStep, None]) -> GenerationStep:
    return await anext(generated)


async def test_it_is_ready_once_started_until_it_stops_or_dies() -> None:
    for end in (ScriptedLanguageEngine.stop, ScriptedLanguageEngine.die):
        engine = engine_of("")
        assert (engine.ready, engine.model.state) == (False, ModelState.LOADING)
        await engine.start()
        await engine.warm_up()
        assert (engine.ready, engine.model.state) == (True, ModelState.READY)
        ended = end(engine)
        if ended is not None:
            await ended
        assert not engine.ready


async def test_a_death_is_noticed() -> None:
    engine = engine_of("")
    engine.die()
    await asyncio.wait_for(engine.wait_for_failure(), 1)


@pytest.mark.parametrize(
    ("model_type", "kind"), [(ModelType.LLM, ScriptedLanguageEngine), (ModelType.EMBEDDING, ScriptedEmbeddingEngine)]
)
def test_it_is_built_from_settings(model_type: ModelType, kind: type) -> None:
    model = ModelSettings(path="x/name", type=model_type, engine=EngineKind.SCRIPTED)
    engine = build(model, Settings(models=(model,)))
    assert isinstance(engine, kind)
    assert (engine.identifier, engine.model_type, engine.model.identifier) == ("name", model_type, "name")
    assert engine.model.limits.context_length == CONTEXT_LENGTH
    if isinstance(engine, ScriptedLanguageEngine):
        assert engine.script("anything") == Reply(DEFAULT_REPLY)
