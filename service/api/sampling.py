"""How tokens are chosen, and what is told about them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, TypeAlias

from pydantic import Field

from service.api.base import INT32_MAX, ApiModel

MAX_STOP_STRINGS = 16
MAX_STOP_STRING_LENGTH = 256
MAX_STOP_TOKEN_IDS = 64
MAX_LOGIT_BIASES = 1024

Temperature: TypeAlias = Annotated[float, Field(gt=0, le=2)]
Share: TypeAlias = Annotated[float, Field(gt=0, le=1)]
Penalty: TypeAlias = Annotated[float, Field(ge=-2, le=2)]
Bias: TypeAlias = Annotated[float, Field(ge=-100, le=100)]
Count: TypeAlias = Annotated[int, Field(ge=0, le=INT32_MAX)]
StopString: TypeAlias = Annotated[str, Field(min_length=1, max_length=MAX_STOP_STRING_LENGTH)]
TokenId: TypeAlias = Annotated[int, Field(ge=0, le=INT32_MAX)]


class GreedySamplingStrategy(ApiModel):
    pass


class TopPSamplingStrategy(ApiModel):
    temperature: Temperature | None = None
    top_p: Share | None = None


class TopKSamplingStrategy(ApiModel):
    top_k: Annotated[int, Field(ge=1, le=INT32_MAX)]
    temperature: Temperature | None = None
    top_p: Share | None = None


SamplingStrategy: TypeAlias = GreedySamplingStrategy | TopPSamplingStrategy | TopKSamplingStrategy


class SamplingParams(ApiModel):
    """None everywhere means the default of the contract; `strategy` None is greedy, `max_tokens` 0 is "not set"."""

    strategy: SamplingStrategy | None = None
    max_tokens: Count | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=2)] | None = None
    stop: Annotated[tuple[StopString, ...], Field(max_length=MAX_STOP_STRINGS)] = ()
    stop_token_ids: Annotated[tuple[TokenId, ...], Field(max_length=MAX_STOP_TOKEN_IDS)] = ()
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: dict[TokenId, Bias] = Field(default_factory=dict, max_length=MAX_LOGIT_BIASES)
    min_tokens: Count | None = None


class LogProbConfig(ApiModel):
    top_k: Count | None = None


@dataclass(frozen=True, slots=True)
class TokenLogProb:
    """A token with its natural log probability; `rank` counts from 1."""

    token_id: int
    text: str
    token_bytes: bytes
    logprob: float
    rank: int


@dataclass(frozen=True, slots=True)
class TokenLogProbs:
    """The log probabilities at one position: the token that was generated, and the ranked alternatives."""

    logprobs_by_token: Mapping[str, float]
    token: TokenLogProb
    top: Sequence[TokenLogProb]
