"""The settings that make vLLM fast and predictable on the machine at hand; a model's own `engine_args` win."""

import os
from typing import Any

import psutil

from service.api.models import ModelType
from service.engines.orphan_guard import SERVER_VARIABLE
from service.settings import ModelSettings

GIB = 1024**3

# One backend, chosen now: left to itself the engine keeps the one that its first constrained request needed. Free
# whitespace would let a small model write blanks until its budget ends.
STRUCTURED_OUTPUTS = {"backend": "xgrammar", "disable_any_whitespace": True}
# By name: importing it here would load torch before its threads are set.
CPU_WORKER = "service.engines.vllm.cpu_worker.CpuWorker"
# A step computes so much of the prompts that arrive, while streams wait. On cores, more makes nothing faster: sixteen
# prompts of 1,000 words beside a stream took 17 to 18 s with any limit from 512 to 8,192, and the stream stood still
# for 0.6 s with the one, for 8 to 10 s with the other. An embedding model has no streams, and takes a text whole.
TOKENS_A_STEP = {ModelType.LLM: 512, ModelType.EMBEDDING: 8192, ModelType.SCORING: 8192}
SEVERAL_WORKERS = {
    "tensor_parallel_size",
    "pipeline_parallel_size",
    "data_parallel_backend",
    "distributed_executor_backend",
}


def engine_args(settings: ModelSettings, *, models: int, on_cpu: bool, quantised: bool = False) -> dict[str, Any]:
    """Arguments of vLLM's AsyncEngineArgs for one of `models` models on this machine."""
    args: dict[str, Any] = {"model": settings.path, "enable_log_requests": False}
    if settings.type is ModelType.LLM:
        args["structured_outputs_config"] = STRUCTURED_OUTPUTS
    else:
        # By itself vLLM runs a float32 model of this kind as float16, which costs precision and, on CPU, speed. Around
        # quantised weights nothing computes in float32.
        quantised_dtype = "bfloat16" if on_cpu else "auto"
        args |= {"runner": "pooling", "dtype": quantised_dtype if quantised else "float32"}
    if settings.max_adapters:
        # Room for all of them: one that was left out would be read again when a request names it, and a file that is
        # broken by then would end the engine.
        # On a CPU vLLM 0.32 computes requests without an adapter with the last place of all, beside others with one: it
        # has to stay empty.
        most = settings.max_adapters + on_cpu
        args |= {"enable_lora": True, "max_loras": most, "max_cpu_loras": most}
        args["max_lora_rank"] = settings.max_lora_rank
    if on_cpu:
        args |= _cpu_args(settings, models)
    if settings.layout.nodes > 1 and settings.layout.data == 1:
        args["distributed_executor_backend"] = "mp"
    return args | settings.engine_args


def environment(*, on_cpu: bool, workers: int = 1) -> dict[str, str]:
    """Environment variables for the engines' processes; those that the operator set win.

    `workers` is how many processes of one model compute on this machine at a time.
    """
    variables = {SERVER_VARIABLE: str(os.getpid()), "VLLM_NO_USAGE_STATS": "1", "VLLM_CONFIGURE_LOGGING": "1"}
    if on_cpu:
        # vLLM would bind its threads to one core in two, and keep cores back for its front-end.
        threads = max(1, len(os.sched_getaffinity(0)) // workers)
        variables |= {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": str(threads)}
        # The older of vLLM's two executors on Ray is for GPUs.
        variables["VLLM_USE_RAY_V2_EXECUTOR_BACKEND"] = "1"
    return {name: value for name, value in variables.items() if name not in os.environ}


def _cpu_args(settings: ModelSettings, models: int) -> dict[str, Any]:
    args: dict[str, Any] = {
        "worker_cls": CPU_WORKER,
        # Compiling takes longer than a small model's first thousand answers.
        "enforce_eager": True,
        "max_num_seqs": 256,
        # Prepared images, once in this process and once in the engine's; by itself vLLM keeps 4 GiB of them in each.
        "mm_processor_cache_gb": 1,
        "max_num_batched_tokens": TOKENS_A_STEP[settings.type],
        "kv_cache_memory_bytes": _cache_bytes(settings, models),
    }
    if not settings.engine_args.keys() & SEVERAL_WORKERS:
        args["distributed_executor_backend"] = _in_process_executor()
    return args


def _cache_bytes(settings: ModelSettings, models: int) -> int:
    """A worker's share of the free memory; what makes no text keeps nothing between steps."""
    if settings.type is not ModelType.LLM:
        return GIB // 4
    free: int = psutil.virtual_memory().available
    return max(GIB // 2, min(4 * GIB, free // (4 * models * settings.layout.workers)))


def _in_process_executor() -> type:
    """Runs the model inside the engine's process rather than in a worker of its own: one process and its imports fewer,
    and no spinning on shared memory between the two. Given as a class because vLLM rewrites the name."""
    from vllm.v1.executor.uniproc_executor import UniProcExecutor

    executor: type = UniProcExecutor
    return executor
