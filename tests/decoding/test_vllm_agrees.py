"""vLLM takes every constraint that is taken here: its own checks come too late to name a field."""

import json
from typing import Any

import pytest

from service.api.response_format import ChoiceResponseFormat
from service.decoding.constraint import answer_format_of
from service.decoding.grammars import GrammarKind, accepts
from tests.decoding.schemas import ENFORCED, IDS, constraint

backend = pytest.importorskip("vllm.v1.structured_output.backend_xgrammar")
utils = pytest.importorskip("vllm.v1.structured_output.utils")


@pytest.mark.parametrize("schema", [schema for schema, _, _ in ENFORCED], ids=IDS)
def test_a_schema_that_is_taken_has_no_feature_that_vllm_refuses(schema: Any) -> None:
    assert not backend.has_xgrammar_unsupported_json_features(json.loads(constraint(schema).constraint.text))


@pytest.mark.parametrize("choice", ["a", '"', "\\", "\n\r\t", "\x01\x7f", "\\n", "é", "🦊", "|", "\u2028"])
def test_vllm_writes_a_choice_as_a_grammar_that_accepts_it(choice: str) -> None:
    made = answer_format_of(ChoiceResponseFormat(choices=(choice, "other")), max_bytes=100)
    assert accepts(GrammarKind.EBNF, utils.choice_as_grammar(list(made.constraint.choices)), choice)
