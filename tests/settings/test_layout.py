"""How a model is spread, read from vLLM's own arguments."""

from typing import Any

import pytest
from pydantic import ValidationError

from service.settings import EngineKind, ModelSettings, Settings
from service.settings.layout import Layout, layout_of

FIRST = "10.0.0.1"
TWO_RANKS = {"data_parallel_size": 2, "data_parallel_size_local": 1, "data_parallel_address": FIRST}
TWO_MACHINES = {"tensor_parallel_size": 8, "pipeline_parallel_size": 2, "nnodes": 2, "master_addr": FIRST}


@pytest.mark.parametrize(
    ("engine_args", "layout", "workers"),
    [
        ({}, Layout(), 1),
        ({"max_model_len": 512, "tensor_parallel_size": None}, Layout(), 1),
        ({"tensor_parallel_size": 4, "pipeline_parallel_size": 2}, Layout(8), 8),
        ({"data_parallel_size": 2, "tensor_parallel_size": 4}, Layout(4, data=2), 8),
        (TWO_RANKS, Layout(data=2, nodes=2, address=FIRST), 1),
        (TWO_MACHINES, Layout(16, nodes=2, address=FIRST), 8),
        ({"tensor_parallel_size": 8, "distributed_executor_backend": "ray"}, Layout(8, by_ray=True), 1),
        ({"data_parallel_size": 8, "data_parallel_backend": "ray"}, Layout(data=8, by_ray=True), 1),
        ({"data_parallel_size": 8, "data_parallel_rank": 3}, Layout(), 1),
    ],
)
def test_the_arguments_say_it(engine_args: dict[str, Any], layout: Layout, workers: int) -> None:
    assert layout_of(engine_args) == layout
    assert layout.workers == workers


@pytest.mark.parametrize(
    ("engine_args", "problem"),
    [
        ({"tensor_parallel_size": 0}, "tensor_parallel_size: has to be a whole number of at least 1"),
        ({"data_parallel_size": True}, "data_parallel_size: has to be a whole number of at least 1"),
        ({"pipeline_parallel_size": "2"}, "pipeline_parallel_size: has to be a whole number of at least 1"),
        (TWO_RANKS | {"data_parallel_size_local": 0}, "data_parallel_size_local: has to be"),
        (TWO_RANKS | {"data_parallel_size": 3, "data_parallel_size_local": 2}, "3 isn't a multiple of"),
        (TWO_RANKS | {"data_parallel_address": None}, "data_parallel_address: has to be the first machine's address"),
        (TWO_RANKS | {"data_parallel_start_rank": 1}, "data_parallel_start_rank: leave it to `inferwire join"),
        (TWO_MACHINES | {"nnodes": 3}, "16 workers can't be spread evenly over 3 machines"),
        (TWO_MACHINES | {"master_addr": ""}, "master_addr: has to be the first machine's address"),
        (TWO_MACHINES | {"node_rank": 0}, "node_rank: leave it to `inferwire join"),
        (TWO_MACHINES | {"data_parallel_size": 2}, "nnodes: with data_parallel_size"),
        (TWO_MACHINES | {"distributed_executor_backend": "ray"}, "nnodes: Ray knows its machines itself"),
    ],
)
def test_contradictions_are_told_before_anything_starts(engine_args: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        ModelSettings(path="a/model", engine_args=engine_args)
    ModelSettings(path="a/model", engine_args=engine_args, engine=EngineKind.SCRIPTED)


def test_each_machine_knows_its_part() -> None:
    ranks = layout_of({**TWO_RANKS, "data_parallel_size": 6, "data_parallel_size_local": 2})
    assert [ranks.part(node) for node in range(3)] == [
        f"data-parallel ranks {first} to {first + 1}" for first in (0, 2, 4)
    ]
    assert [ranks.placed(node) for node in range(3)] == [
        {},
        {"data_parallel_start_rank": 2},
        {"data_parallel_start_rank": 4},
    ]
    workers = layout_of(TWO_MACHINES)
    assert [workers.part(node) for node in range(2)] == ["workers 0 to 7", "workers 8 to 15"]
    assert [workers.placed(node) for node in range(2)] == [{"node_rank": 0}, {"node_rank": 1}]
    assert layout_of({"tensor_parallel_size": 2}).placed(0) == {}


def test_models_of_the_same_machines_have_ports_of_their_own() -> None:
    models = [{"path": f"a/{name}", "engine_args": TWO_RANKS} for name in "xy"]
    with pytest.raises(ValidationError, match=r"report at the same place: 10\.0\.0\.1:29450; set `machines\.port`"):
        Settings.model_validate({"models": models})
    Settings.model_validate({"models": [models[0], models[1] | {"machines": {"port": 29451}}]})
    on_one_machine = [{"path": f"a/{name}", "engine_args": {"data_parallel_size": 2}} for name in "xy"]
    Settings.model_validate({"models": on_one_machine})
