"""A sampling plan in vLLM's words: nothing of it is lost on the way."""

import dataclasses
from typing import Any

import pytest
from vllm.sampling_params import RequestOutputKind, SamplingParams

from service.api.response_format import (
    BnfGrammar,
    ChoiceResponseFormat,
    GrammarResponseFormat,
    JsonObjectResponseFormat,
    JsonSchemaResponseFormat,
    RegexResponseFormat,
    ResponseFormat,
    ResponseFormatType,
)
from service.decoding.constraint import answer_format_of
from service.decoding.plan import SamplingPlan
from service.engines.base import GenerationRequest
from service.engines.vllm.parameters import sampling_params
from service.prompts.tokenizer import Prompt

OFF = SamplingPlan(
    temperature=0.0,
    top_p=1.0,
    top_k=0,
    min_p=0.0,
    repetition_penalty=1.0,
    presence_penalty=0.0,
    frequency_penalty=0.0,
    logit_bias={},
    seed=None,
    max_tokens=16,
    min_tokens=0,
    stop=(),
    stop_token_ids=(),
    logprobs=None,
)
# A value of each field, in the plan and in vLLM's parameters. Sampled: greedy decoding drops what only sampling reads.
FIELDS: dict[str, tuple[Any, Any]] = {
    "temperature": (0.5, 0.5),
    "top_p": (0.25, 0.25),
    "top_k": (7, 7),
    "min_p": (0.125, 0.125),
    "repetition_penalty": (1.5, 1.5),
    "presence_penalty": (-2.0, -2.0),
    "frequency_penalty": (2.0, 2.0),
    "logit_bias": ({3: 4.0}, {3: 4.0}),
    "seed": (2**63 - 1, 2**63 - 1),
    "max_tokens": (99, 99),
    "min_tokens": (5, 5),
    "stop": (("a", "b"), ["a", "b"]),
    "stop_token_ids": ((1, 2), [1, 2]),
    "logprobs": (0, 0),
}
FORMATS: dict[ResponseFormatType, tuple[ResponseFormat, dict[str, Any]]] = {
    ResponseFormatType.JSON_SCHEMA: (
        JsonSchemaResponseFormat(json_schema='{"type": "null"}'),
        {"json": '{"type": "null"}'},
    ),
    ResponseFormatType.GRAMMAR: (
        GrammarResponseFormat(grammar=BnfGrammar(rules={"root": '"a"'})),
        {"grammar": 'root ::= "a"'},
    ),
    ResponseFormatType.REGEX: (RegexResponseFormat(pattern="a|b"), {"regex": "a|b"}),
    ResponseFormatType.CHOICE: (ChoiceResponseFormat(choices=("a", "b")), {"choice": ["a", "b"]}),
    ResponseFormatType.JSON_OBJECT: (JsonObjectResponseFormat(), {"json_object": True}),
}


def told(
    plan: SamplingPlan = OFF, response_format: ResponseFormat | None = None, *, incremental: bool = True
) -> SamplingParams:
    constraint = None if response_format is None else answer_format_of(response_format, 1000).constraint
    return sampling_params(GenerationRequest("r", Prompt("", [1], 0), plan, constraint, incremental))


def test_every_field_of_a_plan_is_in_the_table() -> None:
    assert set(FIELDS) == {field.name for field in dataclasses.fields(SamplingPlan)}


@pytest.mark.parametrize("field", FIELDS)
def test_every_field_of_a_plan_reaches_vllm(field: str) -> None:
    planned, expected = FIELDS[field]
    params = told(dataclasses.replace(OFF, temperature=1.0, **{field: planned} if field != "temperature" else {}))
    if field == "temperature":
        params = told(dataclasses.replace(OFF, temperature=planned))
    assert getattr(params, field) == expected


def test_greedy_stays_greedy() -> None:
    assert (told().temperature, told().seed, told().logit_bias, told().logprobs) == (0.0, None, None, None)


def test_the_end_of_the_model_is_honoured_and_stop_strings_are_not_returned() -> None:
    params = told()
    assert (params.ignore_eos, params.include_stop_str_in_output, params.skip_special_tokens) == (False, False, True)


@pytest.mark.parametrize(
    ("incremental", "kind"), [(True, RequestOutputKind.DELTA), (False, RequestOutputKind.FINAL_ONLY)]
)
def test_steps_come_as_asked_for(incremental: bool, kind: RequestOutputKind) -> None:
    assert told(incremental=incremental).output_kind is kind


def test_every_kind_of_constraint_is_in_the_table() -> None:
    assert set(FORMATS) == set(ResponseFormatType)


@pytest.mark.parametrize("kind", FORMATS)
def test_every_kind_of_constraint_reaches_vllm(kind: ResponseFormatType) -> None:
    response_format, expected = FORMATS[kind]
    params = told(response_format=response_format).structured_outputs
    assert {name: getattr(params, name) for name in expected} == expected


def test_no_constraint_is_none() -> None:
    assert told().structured_outputs is None


def test_two_requests_share_nothing_that_vllm_changes() -> None:
    plan = dataclasses.replace(OFF, logit_bias={1: 1.0}, stop=("a",), stop_token_ids=(1,))
    first, second = told(plan), told(plan)
    assert first is not second
    assert first.logit_bias is not plan.logit_bias
    assert first.stop is not second.stop
