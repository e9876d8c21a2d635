"""A sampling plan and a constraint, in vLLM's words."""

from typing import assert_never

from vllm.sampling_params import RequestOutputKind, SamplingParams, StructuredOutputsParams

from service.decoding.constraint import Constraint, ConstraintKind
from service.engines.base import GenerationRequest


def sampling_params(request: GenerationRequest) -> SamplingParams:
    """Fresh for each request: vLLM changes them and is told not to copy."""
    plan = request.plan
    return SamplingParams(
        temperature=plan.temperature,
        top_p=plan.top_p,
        top_k=plan.top_k,
        min_p=plan.min_p,
        repetition_penalty=plan.repetition_penalty,
        presence_penalty=plan.presence_penalty,
        frequency_penalty=plan.frequency_penalty,
        logit_bias=dict(plan.logit_bias) or None,
        seed=plan.seed,
        max_tokens=plan.max_tokens,
        min_tokens=plan.min_tokens,
        stop=list(plan.stop),
        stop_token_ids=list(plan.stop_token_ids),
        logprobs=plan.logprobs,
        flat_logprobs=plan.logprobs is not None,
        structured_outputs=None if request.constraint is None else _structured_outputs(request.constraint),
        skip_special_tokens=not request.show_control_tokens,
        output_kind=RequestOutputKind.DELTA if request.incremental else RequestOutputKind.FINAL_ONLY,
        skip_clone=True,
    )


def _structured_outputs(constraint: Constraint) -> StructuredOutputsParams:
    match constraint.kind:
        case ConstraintKind.JSON_SCHEMA:
            return StructuredOutputsParams(json=constraint.text)
        case ConstraintKind.GRAMMAR:
            return StructuredOutputsParams(grammar=constraint.text)
        case ConstraintKind.REGEX:
            return StructuredOutputsParams(regex=constraint.text)
        case ConstraintKind.CHOICE:
            return StructuredOutputsParams(choice=list(constraint.choices))
        case ConstraintKind.JSON_OBJECT:
            return StructuredOutputsParams(json_object=True)
        case ConstraintKind.STRUCTURAL_TAG:
            return StructuredOutputsParams(structural_tag=constraint.text)
        case _:
            assert_never(constraint.kind)
