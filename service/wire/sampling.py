"""Sampling parameters and log probabilities."""

from collections.abc import Iterable
from typing import assert_never

from inferwire.v1 import sampling_pb2 as pb
from service.api.sampling import (
    GreedySamplingStrategy,
    LogProbConfig,
    SamplingParams,
    SamplingStrategy,
    TokenLogProb,
    TokenLogProbs,
    TopKSamplingStrategy,
    TopPSamplingStrategy,
)
from service.wire.fields import at, build, optional


def sampling_params_from_proto(message: pb.SamplingParams) -> SamplingParams:
    return build(
        SamplingParams,
        strategy=_strategy_from_proto(message),
        max_tokens=optional(message, "max_tokens"),
        repetition_penalty=optional(message, "repetition_penalty"),
        stop=tuple(message.stop),
        stop_token_ids=tuple(message.stop_token_ids),
        seed=optional(message, "seed"),
        min_p=optional(message, "min_p"),
        presence_penalty=optional(message, "presence_penalty"),
        frequency_penalty=optional(message, "frequency_penalty"),
        logit_bias=dict(message.logit_bias),
        min_tokens=optional(message, "min_tokens"),
    )


def sampling_params_to_proto(params: SamplingParams) -> pb.SamplingParams:
    message = pb.SamplingParams(
        max_tokens=params.max_tokens,
        repetition_penalty=params.repetition_penalty,
        stop=params.stop,
        stop_token_ids=params.stop_token_ids,
        seed=params.seed,
        min_p=params.min_p,
        presence_penalty=params.presence_penalty,
        frequency_penalty=params.frequency_penalty,
        logit_bias=params.logit_bias,
        min_tokens=params.min_tokens,
    )
    match params.strategy:
        case GreedySamplingStrategy():
            message.greedy.SetInParent()
        case TopPSamplingStrategy(temperature=temperature, top_p=top_p):
            message.top_p.CopyFrom(pb.TopPSamplingStrategy(temperature=temperature, top_p=top_p))
        case TopKSamplingStrategy(top_k=top_k, temperature=temperature, top_p=top_p):
            message.top_k.CopyFrom(pb.TopKSamplingStrategy(top_k=top_k, temperature=temperature, top_p=top_p))
        case None:
            pass
        case _:
            assert_never(params.strategy)
    return message


def _strategy_from_proto(message: pb.SamplingParams) -> SamplingStrategy | None:
    match message.WhichOneof("strategy"):
        case "greedy":
            return GreedySamplingStrategy()
        case "top_p":
            with at("top_p"):
                return build(
                    TopPSamplingStrategy,
                    temperature=optional(message.top_p, "temperature"),
                    top_p=optional(message.top_p, "top_p"),
                )
        case "top_k":
            with at("top_k"):
                return build(
                    TopKSamplingStrategy,
                    top_k=message.top_k.top_k,
                    temperature=optional(message.top_k, "temperature"),
                    top_p=optional(message.top_k, "top_p"),
                )
        case _:
            return None


def log_prob_config_from_proto(message: pb.LogProbConfig) -> LogProbConfig:
    return build(LogProbConfig, top_k=optional(message, "top_k"))


def log_prob_config_to_proto(config: LogProbConfig) -> pb.LogProbConfig:
    return pb.LogProbConfig(top_k=config.top_k)


def logprobs_from_proto(messages: Iterable[pb.TokenLogProbs]) -> tuple[TokenLogProbs, ...]:
    return tuple(
        TokenLogProbs(
            logprobs_by_token=dict(message.logprobs_by_token),
            token=_token_from_proto(message.token),
            top=tuple(map(_token_from_proto, message.top)),
        )
        for message in messages
    )


def logprobs_to_proto(logprobs: Iterable[TokenLogProbs]) -> list[pb.TokenLogProbs]:
    return [
        pb.TokenLogProbs(
            logprobs_by_token=position.logprobs_by_token,
            token=_token_to_proto(position.token),
            top=map(_token_to_proto, position.top),
        )
        for position in logprobs
    ]


def _token_from_proto(message: pb.TokenLogProb) -> TokenLogProb:
    return TokenLogProb(message.token_id, message.text, message.token_bytes, message.logprob, message.rank)


def _token_to_proto(token: TokenLogProb) -> pb.TokenLogProb:
    return pb.TokenLogProb(
        token_id=token.token_id,
        text=token.text,
        token_bytes=token.token_bytes,
        logprob=token.logprob,
        rank=token.rank,
    )
