"""The settings of vLLM's engines: ours by default, the operator's where there are any."""

import os
from typing import Any

import pytest
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.v1.executor.uniproc_executor import UniProcExecutor

from service.api.models import ModelType
from service.engines.orphan_guard import SERVER_VARIABLE
from service.engines.vllm.defaults import GIB, SEVERAL_WORKERS, engine_args, environment
from service.settings import ModelSettings

LLM, EMBEDDING = ModelType.LLM, ModelType.EMBEDDING


def args_of(model_type: ModelType = LLM, *, models: int = 1, on_cpu: bool = True, **own: Any) -> dict[str, Any]:
    settings = ModelSettings(path="some/model", type=model_type, engine_args=own)
    return engine_args(settings, models=models, on_cpu=on_cpu)


@pytest.mark.parametrize("on_cpu", [True, False])
@pytest.mark.parametrize("model_type", ModelType)
def test_vllm_knows_every_argument(model_type: ModelType, on_cpu: bool) -> None:
    assert set(args_of(model_type, on_cpu=on_cpu)) <= set(AsyncEngineArgs.__dataclass_fields__)


def test_an_embedding_model_keeps_its_precision() -> None:
    args = args_of(EMBEDDING, on_cpu=False)
    assert (args["runner"], args["dtype"]) == ("pooling", "float32")


def test_a_language_model_has_one_backend_for_constraints() -> None:
    assert args_of()["structured_outputs_config"]["backend"] == "xgrammar"


@pytest.mark.parametrize("own", [{"dtype": "bfloat16"}, {"enforce_eager": False}, {"model": "other/model"}])
def test_what_the_operator_sets_wins(own: dict[str, Any]) -> None:
    assert args_of(EMBEDDING, **own) == args_of(EMBEDDING) | own


def test_a_gpu_is_left_to_vllm() -> None:
    assert set(args_of(on_cpu=False)) == {"model", "enable_log_requests", "structured_outputs_config"}


def test_one_worker_runs_in_the_engines_own_process() -> None:
    assert args_of()["distributed_executor_backend"] is UniProcExecutor


@pytest.mark.parametrize("option", sorted(SEVERAL_WORKERS))
def test_several_workers_are_vllms_business(option: str) -> None:
    value = "mp" if option == "distributed_executor_backend" else 2
    assert args_of(**{option: value}).get("distributed_executor_backend") in (None, "mp")


def test_models_share_the_memory() -> None:
    alone, shared = (args_of(models=models)["kv_cache_memory_bytes"] for models in (1, 100))
    assert GIB // 2 <= shared <= alone <= 4 * GIB
    assert args_of(EMBEDDING)["kv_cache_memory_bytes"] == GIB // 4
    assert args_of(tensor_parallel_size=1000)["kv_cache_memory_bytes"] == GIB // 2


def test_workers_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    alone, three, many = (int(environment(on_cpu=True, workers=n)["OMP_NUM_THREADS"]) for n in (1, 3, 1000))
    assert three == max(1, alone // 3)
    assert many == 1


def test_data_parallel_ranks_run_in_their_engines_processes() -> None:
    assert args_of(data_parallel_size=2)["distributed_executor_backend"] is UniProcExecutor


def test_workers_on_several_machines_are_processes() -> None:
    place = {"pipeline_parallel_size": 2, "nnodes": 2, "master_addr": "10.0.0.1"}
    assert args_of(**place)["distributed_executor_backend"] == "mp"
    assert args_of(on_cpu=False, **place)["distributed_executor_backend"] == "mp"


def test_the_engines_know_whose_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SERVER_VARIABLE, raising=False)
    assert environment(on_cpu=True)[SERVER_VARIABLE] == str(os.getpid())
    assert SERVER_VARIABLE in environment(on_cpu=False)


def test_variables_that_the_operator_set_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert "OMP_NUM_THREADS" not in environment(on_cpu=True)
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert int(environment(on_cpu=True)["OMP_NUM_THREADS"]) >= 1


def test_threads_are_bound_on_cpu_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VLLM_CPU_OMP_THREADS_BIND", raising=False)
    assert "VLLM_CPU_OMP_THREADS_BIND" in environment(on_cpu=True)
    assert "VLLM_CPU_OMP_THREADS_BIND" not in environment(on_cpu=False)


def test_all_adapters_have_room_in_the_engine() -> None:
    model = ModelSettings(path="m", max_adapters=3, max_lora_rank=32)
    args = engine_args(model, models=1, on_cpu=False)
    assert {name: args[name] for name in ("enable_lora", "max_loras", "max_cpu_loras", "max_lora_rank")} == {
        "enable_lora": True,
        "max_loras": 3,
        "max_cpu_loras": 3,
        "max_lora_rank": 32,
    }
    assert "enable_lora" not in args_of()


def test_on_a_cpu_one_place_more_stays_empty() -> None:
    """vLLM takes it for the one of requests without an adapter."""
    args = engine_args(ModelSettings(path="m", max_adapters=3), models=1, on_cpu=True)
    assert (args["max_loras"], args["max_cpu_loras"]) == (4, 4)
