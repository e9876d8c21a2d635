"""The bounds of the contract: the last value inside is taken, the first outside is refused."""

import math
from typing import Any

import pytest
from pydantic import ValidationError

from service.api.base import ApiModel
from service.api.sampling import LogProbConfig, SamplingParams, TopKSamplingStrategy, TopPSamplingStrategy

TINY = 1e-9

TAKEN = [
    (SamplingParams, "max_tokens", 0),
    (SamplingParams, "min_tokens", 0),
    (SamplingParams, "repetition_penalty", TINY),
    (SamplingParams, "repetition_penalty", 2),
    (SamplingParams, "min_p", 0),
    (SamplingParams, "min_p", 1),
    (SamplingParams, "presence_penalty", -2),
    (SamplingParams, "presence_penalty", 2),
    (SamplingParams, "frequency_penalty", -2),
    (SamplingParams, "frequency_penalty", 2),
    (SamplingParams, "stop", ("x" * 256,) * 16),
    (SamplingParams, "stop_token_ids", (0,) * 64),
    (SamplingParams, "logit_bias", {0: -100.0, 1: 100.0}),
    (SamplingParams, "logit_bias", dict.fromkeys(range(1024), 0.0)),
    (SamplingParams, "seed", -1),
    (TopPSamplingStrategy, "temperature", TINY),
    (TopPSamplingStrategy, "temperature", 2),
    (TopPSamplingStrategy, "top_p", TINY),
    (TopPSamplingStrategy, "top_p", 1),
    (TopKSamplingStrategy, "top_k", 1),
    (LogProbConfig, "top_k", 0),
]
REFUSED = [
    (SamplingParams, "max_tokens", -1),
    (SamplingParams, "min_tokens", -1),
    (SamplingParams, "repetition_penalty", 0),
    (SamplingParams, "repetition_penalty", 2 + TINY),
    (SamplingParams, "min_p", -TINY),
    (SamplingParams, "min_p", 1 + TINY),
    (SamplingParams, "presence_penalty", -2 - TINY),
    (SamplingParams, "frequency_penalty", 2 + TINY),
    (SamplingParams, "stop", ("",)),
    (SamplingParams, "stop", ("x" * 257,)),
    (SamplingParams, "stop", ("x",) * 17),
    (SamplingParams, "stop_token_ids", (-1,)),
    (SamplingParams, "stop_token_ids", (0,) * 65),
    (SamplingParams, "logit_bias", {-1: 0.0}),
    (SamplingParams, "logit_bias", {0: 100 + TINY}),
    (SamplingParams, "logit_bias", dict.fromkeys(range(1025), 0.0)),
    (TopPSamplingStrategy, "temperature", 0),
    (TopPSamplingStrategy, "temperature", 2 + TINY),
    (TopPSamplingStrategy, "temperature", math.nan),
    (TopPSamplingStrategy, "temperature", math.inf),
    (TopPSamplingStrategy, "top_p", 0),
    (TopPSamplingStrategy, "top_p", 1 + TINY),
    (TopKSamplingStrategy, "top_k", 0),
    (LogProbConfig, "top_k", -1),
]


def made(shape: type[ApiModel], field: str, value: Any) -> ApiModel:
    needed = {"top_k": 1} if shape is TopKSamplingStrategy else {}
    return shape(**needed | {field: value})


@pytest.mark.parametrize(("shape", "field", "value"), TAKEN)
def test_a_value_on_the_bound_is_taken(shape: type[ApiModel], field: str, value: Any) -> None:
    assert getattr(made(shape, field, value), field) == value


@pytest.mark.parametrize(("shape", "field", "value"), REFUSED)
def test_a_value_beyond_the_bound_is_refused(shape: type[ApiModel], field: str, value: Any) -> None:
    with pytest.raises(ValidationError) as refused:
        made(shape, field, value)
    assert {problem["loc"][0] for problem in refused.value.errors()} == {field}
