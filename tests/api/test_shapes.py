"""What holds for all shapes of the api: callers' are checked and frozen, streamed ones small and frozen."""

import dataclasses
import pkgutil
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType

import pytest
from pydantic import BaseModel, ValidationError

from service import api
from service.api.base import ApiModel
from service.api.sampling import SamplingParams


def modules() -> list[ModuleType]:
    return [import_module(f"{api.__name__}.{module.name}") for module in pkgutil.iter_modules(api.__path__)]


def classes() -> Iterator[type]:
    for module in modules():
        yield from (c for c in vars(module).values() if isinstance(c, type) and c.__module__ == module.__name__)


MODELS = [shape for shape in classes() if issubclass(shape, BaseModel)]
DATACLASSES = [shape for shape in classes() if dataclasses.is_dataclass(shape)]


@pytest.mark.parametrize("shape", MODELS, ids=lambda shape: shape.__name__)
def test_what_callers_send_is_strict_and_frozen(shape: type[BaseModel]) -> None:
    assert issubclass(shape, ApiModel)
    assert shape.model_config["frozen"]
    assert shape.model_config["extra"] == "forbid"


@pytest.mark.parametrize("shape", DATACLASSES, ids=lambda shape: shape.__name__)
def test_what_streams_out_is_slotted_and_frozen(shape: type) -> None:
    assert shape.__dataclass_params__.frozen
    assert "__slots__" in vars(shape)


def test_a_misspelt_field_is_refused() -> None:
    with pytest.raises(ValidationError, match="max_token"):
        SamplingParams(max_token=1)


def test_a_shape_cannot_be_changed() -> None:
    params = SamplingParams(max_tokens=1)
    with pytest.raises(ValidationError, match="frozen"):
        params.max_tokens = 2
