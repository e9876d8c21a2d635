"""vLLM's reasoning parsers: which marks they stand for, and that they read recorded outputs as this server does."""

from typing import Any

import pytest
from vllm.reasoning import ReasoningParserManager

from service.engines.vllm.reasoning_parsers import marks_of
from service.prompts.reasoning import reasoning_of
from tests.inference.thinking import FAMILIES, Family

every_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)


@every_family
def test_a_parser_s_marks_are_those_of_the_template(family: Family) -> None:
    tokenizer = family.renderer().tokenizer
    marks = marks_of(family.parser, tokenizer)
    assert marks == family.marks
    assert reasoning_of(tokenizer, marks) is not None
    parser: Any = ReasoningParserManager.get_reasoning_parser(family.parser)(tokenizer.pretrained)
    found = reasoning_of(tokenizer)
    assert found is not None
    for name, mark_id in (("start_token_id", found.start_id), ("end_token_id", found.end_id)):
        assert getattr(parser, name, mark_id) == mark_id


@every_family
def test_recorded_outputs_are_read_as_vllm_reads_them(family: Family) -> None:
    tokenizer = family.renderer().tokenizer
    parser: Any = ReasoningParserManager.get_reasoning_parser(family.parser)(tokenizer.pretrained)
    reasoning, content = parser.extract_reasoning(family.recorded, None)
    # It leaves the blanks in front of the answer where they are, and takes some around the thoughts away.
    assert reasoning.strip() == family.thoughts.strip()
    assert content.strip() == family.answer


def test_a_parser_that_there_is_not() -> None:
    with pytest.raises(ValueError, match=r"no reasoning parser 'r1'; it has: .*deepseek_r1"):
        marks_of("r1", FAMILIES[0].renderer().tokenizer)


def test_a_parser_of_another_model() -> None:
    with pytest.raises(ValueError, match=r"'seed_oss' (doesn't fit the model|reads text)"):
        marks_of("seed_oss", FAMILIES[0].renderer().tokenizer)


@pytest.mark.parametrize("name", ["granite", "hunyuan_a13b", "olmo3", "openai_gptoss"])
def test_a_parser_that_reads_text(name: str) -> None:
    with pytest.raises(ValueError, match=rf"'{name}' (doesn't fit the model|reads text)"):
        marks_of(name, FAMILIES[0].renderer().tokenizer)
