"""Errors of vLLM as a caller hears of them."""

import pytest
from vllm.exceptions import VLLMValidationError
from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

from service.engines.vllm.core import loading, translated
from service.errors import EngineFailed, InferwireError, InternalError, InvalidField


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (EngineDeadError(), EngineFailed),
        (EngineGenerateError("secret"), InternalError),
        (RuntimeError("secret"), InternalError),
        (VLLMValidationError("Too much.", parameter="max_tokens", value=1), InvalidField),
    ],
)
def test_an_error_of_vllm_has_a_reason_of_ours(error: Exception, kind: type[InferwireError]) -> None:
    known = translated(error)
    assert type(known) is kind
    assert "secret" not in known.message


def test_a_dead_engine_is_worth_a_retry() -> None:
    assert translated(EngineDeadError()).retry_after_s


@pytest.mark.parametrize(
    ("parameter", "field"), [("logprobs", "logprobs.top_k"), ("stop", "sampling_params.stop"), ("unheard_of", "")]
)
def test_a_parameter_is_told_by_the_name_that_callers_know(parameter: str, field: str) -> None:
    known = translated(VLLMValidationError("Too much.", parameter=parameter, value=1))
    assert isinstance(known, InvalidField)
    assert [violation.field for violation in known.violations] == [field]
    assert "Too much." in known.message


def test_whatever_keeps_a_model_from_loading_is_told_in_one_line() -> None:
    with pytest.raises(EngineFailed) as failed, loading("m"):
        raise OSError("no such folder\nand a long story")
    assert failed.value.message == "The model m could not be loaded: no such folder"
    assert isinstance(failed.value.__cause__, OSError)
