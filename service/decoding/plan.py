"""The sampling plan: what a caller asked for, with every default and limit applied, ready for an engine."""

from collections.abc import Mapping
from dataclasses import dataclass

from service.api.sampling import (
    GreedySamplingStrategy,
    LogProbConfig,
    SamplingParams,
    TopKSamplingStrategy,
    TopPSamplingStrategy,
)
from service.errors import ContextLengthExceeded, Findings, InvalidField

DEFAULT_TEMPERATURE = 1.0
DEFAULT_TOP_P = 0.95
LARGEST_SEED = 2**63 - 1


@dataclass(frozen=True, slots=True)
class SamplingPlan:
    """Temperature 0 is greedy; top_p 1, top_k 0, min_p 0 and penalties 0 (repetition: 1) are off."""

    temperature: float
    top_p: float
    top_k: int
    min_p: float
    repetition_penalty: float
    presence_penalty: float
    frequency_penalty: float
    logit_bias: Mapping[int, float]
    seed: int | None
    max_tokens: int
    min_tokens: int
    stop: tuple[str, ...]
    stop_token_ids: tuple[int, ...]
    logprobs: int | None
    """Alternatives to report at each position; None for no log probabilities at all."""


@dataclass(frozen=True, slots=True)
class ModelBounds:
    """What a model and its engine can take."""

    context_length: int
    vocabulary_size: int
    max_logprobs: int


def plan_sampling(
    params: SamplingParams | None, logprobs: LogProbConfig | None, prompt_tokens: int, bounds: ModelBounds
) -> SamplingPlan:
    """Raises InvalidField, which tells of all that this model can't do."""
    params = params or SamplingParams()
    max_tokens = shown = None
    findings = Findings()
    with findings.noting():
        max_tokens = _max_tokens(params, prompt_tokens, bounds)
    with findings.noting():
        _check_against_model(params, bounds)
    with findings.noting():
        shown = _logprobs(logprobs, bounds)
    findings.raise_all()
    assert max_tokens is not None
    temperature, top_p, top_k = _strategy(params)
    return SamplingPlan(
        temperature=temperature,
        top_p=top_p,
        top_k=min(top_k, bounds.vocabulary_size),
        min_p=params.min_p or 0.0,
        repetition_penalty=1.0 if params.repetition_penalty is None else params.repetition_penalty,
        presence_penalty=params.presence_penalty or 0.0,
        frequency_penalty=params.frequency_penalty or 0.0,
        logit_bias=params.logit_bias,
        seed=None if params.seed is None else params.seed & LARGEST_SEED,
        max_tokens=max_tokens,
        min_tokens=min(params.min_tokens or 0, max_tokens),
        stop=params.stop,
        stop_token_ids=params.stop_token_ids,
        logprobs=shown,
    )


def check_prompt_length(field: str, prompt_tokens: int, context_length: int) -> None:
    """Raises ContextLengthExceeded for a prompt that leaves no room for a single token."""
    if prompt_tokens >= context_length:
        raise prompt_too_long(field, prompt_tokens, context_length)


def prompt_too_long(field: str, tokens: int | None, context_length: int) -> ContextLengthExceeded:
    """`tokens` is None for a prompt that is far too long to be counted."""
    shown = f"more than {context_length}" if tokens is None else str(tokens)
    counted = {} if tokens is None else {"tokens": str(tokens)}
    return ContextLengthExceeded(
        field,
        f"The prompt has {shown} tokens; the model's context of {context_length} tokens has to hold it and at least "
        "one generated token.",
        metadata={"limit": str(context_length - 1), **counted},
    )


def _strategy(params: SamplingParams) -> tuple[float, float, int]:
    """Temperature, top_p and top_k."""
    match params.strategy:
        case TopPSamplingStrategy(temperature=temperature, top_p=top_p):
            return temperature or DEFAULT_TEMPERATURE, top_p or DEFAULT_TOP_P, 0
        case TopKSamplingStrategy(top_k=top_k, temperature=temperature, top_p=top_p):
            return temperature or DEFAULT_TEMPERATURE, top_p or 1.0, top_k
        case GreedySamplingStrategy() | None:
            return 0.0, 1.0, 0


def _max_tokens(params: SamplingParams, prompt_tokens: int, bounds: ModelBounds) -> int:
    left = bounds.context_length - prompt_tokens
    asked = params.max_tokens or left
    if (params.min_tokens or 0) > asked:
        raise InvalidField(
            "sampling_params.min_tokens", f"It is {params.min_tokens}, more than the {asked} tokens allowed at most."
        )
    return min(asked, left)


def _check_against_model(params: SamplingParams, bounds: ModelBounds) -> None:
    for index, token_id in enumerate(params.stop_token_ids):
        if token_id >= bounds.vocabulary_size:
            raise _not_in_vocabulary(f"sampling_params.stop_token_ids[{index}]", token_id, bounds)
    for token_id in params.logit_bias:
        if token_id >= bounds.vocabulary_size:
            raise _not_in_vocabulary(f"sampling_params.logit_bias[{token_id}]", token_id, bounds)


def _not_in_vocabulary(field: str, token_id: int, bounds: ModelBounds) -> InvalidField:
    return InvalidField(field, f"The model has no token {token_id}; its vocabulary has {bounds.vocabulary_size}.")


def _logprobs(config: LogProbConfig | None, bounds: ModelBounds) -> int | None:
    if config is None:
        return None
    top_k = config.top_k or 0
    if top_k > bounds.max_logprobs:
        raise InvalidField("logprobs.top_k", f"It is {top_k}; the model reports at most {bounds.max_logprobs}.")
    return top_k
