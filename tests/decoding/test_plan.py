"""Every default and limit of a sampling plan."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.sampling import (
    GreedySamplingStrategy,
    LogProbConfig,
    SamplingParams,
    SamplingStrategy,
    TopKSamplingStrategy,
    TopPSamplingStrategy,
)
from service.decoding.plan import ModelBounds, SamplingPlan, check_prompt_length, plan_sampling
from service.errors import ContextLengthExceeded, InvalidField
from tests.strategies import shapes

BOUNDS = ModelBounds(context_length=100, vocabulary_size=50, max_logprobs=5)
PROMPT = 40
LEFT = BOUNDS.context_length - PROMPT
INT64 = 2**63


def plan(params: SamplingParams | None = None, logprobs: LogProbConfig | None = None) -> SamplingPlan:
    return plan_sampling(params, logprobs, PROMPT, BOUNDS)


def planned(**params: Any) -> SamplingPlan:
    return plan(SamplingParams(**params))


def refused_field(**params: Any) -> str:
    with pytest.raises(InvalidField) as refused:
        planned(**params)
    return refused.value.violations[0].field


@pytest.mark.parametrize("params", [None, SamplingParams()])
def test_nothing_asked_for_is_greedy_to_the_end_of_the_context(params: SamplingParams | None) -> None:
    assert plan(params) == SamplingPlan(
        temperature=0.0,
        top_p=1.0,
        top_k=0,
        min_p=0.0,
        repetition_penalty=1.0,
        presence_penalty=0.0,
        frequency_penalty=0.0,
        logit_bias={},
        seed=None,
        max_tokens=LEFT,
        min_tokens=0,
        stop=(),
        stop_token_ids=(),
        logprobs=None,
    )


@pytest.mark.parametrize(
    ("strategy", "temperature", "top_p", "top_k"),
    [
        (None, 0.0, 1.0, 0),
        (GreedySamplingStrategy(), 0.0, 1.0, 0),
        (TopPSamplingStrategy(), 1.0, 0.95, 0),
        (TopPSamplingStrategy(temperature=0.5), 0.5, 0.95, 0),
        (TopPSamplingStrategy(top_p=0.1), 1.0, 0.1, 0),
        (TopPSamplingStrategy(temperature=2, top_p=1), 2.0, 1.0, 0),
        (TopKSamplingStrategy(top_k=1), 1.0, 1.0, 1),
        (TopKSamplingStrategy(top_k=7, temperature=0.5, top_p=0.9), 0.5, 0.9, 7),
        (TopKSamplingStrategy(top_k=50), 1.0, 1.0, 50),
        (TopKSamplingStrategy(top_k=2**31 - 1), 1.0, 1.0, 50),
    ],
)
def test_a_strategy_sets_temperature_top_p_and_top_k(
    strategy: SamplingStrategy | None, temperature: float, top_p: float, top_k: int
) -> None:
    made = planned(strategy=strategy)
    assert (made.temperature, made.top_p, made.top_k) == (temperature, top_p, top_k)


@pytest.mark.parametrize(
    ("asked", "tokens"), [(None, LEFT), (0, LEFT), (1, 1), (LEFT, LEFT), (LEFT + 1, LEFT), (2**31 - 1, LEFT)]
)
def test_the_budget_ends_with_the_context(asked: int | None, tokens: int) -> None:
    assert planned(max_tokens=asked).max_tokens == tokens


@pytest.mark.parametrize(
    ("least", "most", "tokens"), [(None, None, 0), (0, 5, 0), (5, 5, 5), (LEFT, None, LEFT), (LEFT + 5, LEFT + 5, LEFT)]
)
def test_a_minimum_within_the_budget_is_taken(least: int | None, most: int | None, tokens: int) -> None:
    assert planned(min_tokens=least, max_tokens=most).min_tokens == tokens


@pytest.mark.parametrize(("least", "most"), [(6, 5), (LEFT + 1, None), (LEFT + 1, 0)])
def test_a_minimum_beyond_the_budget_is_refused(least: int, most: int | None) -> None:
    assert refused_field(min_tokens=least, max_tokens=most) == "sampling_params.min_tokens"


@pytest.mark.parametrize("seed", [0, 1, 42, INT64 - 1])
def test_a_seed_is_taken_as_it_is(seed: int) -> None:
    assert planned(seed=seed).seed == seed


@pytest.mark.parametrize("seed", [-1, -2, -INT64])
def test_a_negative_seed_is_a_seed_too(seed: int) -> None:
    """To vLLM -1 means none."""
    made = planned(seed=seed).seed
    assert made is not None
    assert 0 <= made < INT64


def test_near_seeds_stay_different() -> None:
    assert len({planned(seed=seed).seed for seed in range(-5, 6)}) == 11


@pytest.mark.parametrize(
    "params",
    [
        {"min_p": 0.25},
        {"repetition_penalty": 0.5},
        {"presence_penalty": -2.0},
        {"frequency_penalty": 2.0},
        {"logit_bias": {0: -100.0, 49: 100.0}},
        {"stop": ("a", "b")},
        {"stop_token_ids": (0, 49)},
    ],
)
def test_what_has_no_default_of_its_own_is_passed_on(params: dict[str, Any]) -> None:
    ((name, value),) = params.items()
    assert getattr(planned(**params), name) == value


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"stop_token_ids": (1, 50)}, "sampling_params.stop_token_ids[1]"),
        ({"stop_token_ids": (2**31 - 1,)}, "sampling_params.stop_token_ids[0]"),
        ({"logit_bias": {3: 1.0, 50: 1.0}}, "sampling_params.logit_bias[50]"),
    ],
)
def test_a_token_that_the_model_does_not_have_is_refused(params: dict[str, Any], field: str) -> None:
    assert refused_field(**params) == field


@pytest.mark.parametrize(
    ("config", "logprobs"),
    [(None, None), (LogProbConfig(), 0), (LogProbConfig(top_k=0), 0), (LogProbConfig(top_k=5), 5)],
)
def test_log_probabilities_are_reported_when_asked_for(config: LogProbConfig | None, logprobs: int | None) -> None:
    assert plan(logprobs=config).logprobs == logprobs


def test_more_log_probabilities_than_the_model_reports_are_refused() -> None:
    with pytest.raises(InvalidField, match="at most 5") as refused:
        plan(logprobs=LogProbConfig(top_k=6))
    assert refused.value.violations[0].field == "logprobs.top_k"


@given(params=shapes.sampling_params, prompt=st.integers(0, 99))
def test_every_plan_fits_the_model(params: SamplingParams, prompt: int) -> None:
    try:
        made = plan_sampling(params, None, prompt, BOUNDS)
    except InvalidField:
        return
    assert 0 <= made.min_tokens <= made.max_tokens <= BOUNDS.context_length - prompt
    assert made.max_tokens > 0
    assert 0 <= made.top_k <= BOUNDS.vocabulary_size
    assert made.seed is None or made.seed >= 0


@pytest.mark.parametrize("tokens", [0, 99])
def test_a_prompt_that_leaves_room_for_a_token_is_taken(tokens: int) -> None:
    check_prompt_length("messages", tokens, 100)


@pytest.mark.parametrize("tokens", [100, 101])
def test_a_prompt_that_fills_the_context_is_refused_with_its_length(tokens: int) -> None:
    with pytest.raises(ContextLengthExceeded) as refused:
        check_prompt_length("messages", tokens, 100)
    assert refused.value.violations[0].field == "messages"
    assert refused.value.metadata == {"tokens": str(tokens), "limit": "99"}
