"""Whether the machine is large enough, and what its cores can do."""

import os
import platform
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from service.cli.diagnosis.finding import Finding, ok, problem, warning
from service.cli.diagnosis.gpus import Gpu, find_gpus
from service.cli.diagnosis.models import folder_of, weight_bytes
from service.cli.diagnosis.quantization import check_support, loaded_bytes
from service.settings import EngineKind, ModelSettings, Settings

GIB = 1024**3
# What an engine's process takes beside the weights: libraries, buffers, and the smallest cache.
ENGINE_BYTES = GIB
SHARED_BYTES = GIB
# Instructions that vLLM's kernels have variants for, by machine, each with what is lost without it.
WANTED = {
    "x86_64": ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8"),
    "aarch64": ("asimd", "bf16", "i8mm"),
}
NEEDED = {"x86_64": "avx2", "aarch64": "asimd"}
FAST = {"x86_64": "avx512f", "aarch64": "bf16"}
SEVERAL_WORKERS = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")
# Each says how much of a GPU an engine takes.
SHARES = {"gpu_memory_utilization", "kv_cache_memory_bytes"}
CPU_INFO = Path("/proc/cpuinfo")
MEMORY_LIMIT, MEMORY_USED = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
SHARED_MEMORY = Path("/dev/shm")


def check_hardware(settings: Settings) -> Iterator[Finding]:
    gpus, weights = find_gpus(), sum(map(_weights, settings.models))
    yield _cores(len(os.sched_getaffinity(0)))
    if gpus:
        yield _gpus(gpus, weights)
        yield from _shares(settings.models, gpus)
    else:
        yield _instructions(platform.machine(), CPU_INFO.read_text(encoding="utf-8", errors="replace"))
        yield _memory(weights, len(settings.models), free_bytes())
    yield check_support()
    yield from _shared_memory(settings.models)


def _weights(model: ModelSettings) -> int:
    folder = folder_of(model)
    return loaded_bytes(model, folder, weight_bytes(folder)) if folder else 0


def _cores(count: int) -> Finding:
    if count < 2:
        return warning("cores", "only one, which server and engine share", "Give it two or more.")
    return ok("cores", str(count))


def _instructions(machine: str, cpu_info: str) -> Finding:
    has = {word for line in cpu_info.splitlines() if line.startswith(("flags", "Features")) for word in line.split()}
    wanted = WANTED.get(machine, ())
    told = ", ".join(word for word in wanted if word in has) or "none that is known to speed models up"
    if wanted and NEEDED[machine] not in has:
        return problem("instructions", told, f"vLLM needs {NEEDED[machine]}: use another machine, or a GPU.")
    if wanted and FAST[machine] not in has:
        return warning("instructions", told, f"Cores with {FAST[machine]} are several times as fast.")
    return ok("instructions", told)


def free_bytes() -> int:
    """Of the machine, or of the container if that has less."""
    free = int(psutil.virtual_memory().available)
    try:
        return min(free, int(MEMORY_LIMIT.read_text()) - int(MEMORY_USED.read_text()))
    except (OSError, ValueError):
        return free  # no container, or one without a limit, which says "max"


def _memory(weights: int, models: int, free: int) -> Finding:
    wanted = weights + models * ENGINE_BYTES
    told = f"{shown(free)} free; the models take about {shown(wanted)}, {shown(weights)} of it weights"
    if weights > free:
        return problem("memory", told, "Free memory, or serve smaller or quantised models.")
    if wanted > free:
        return warning("memory", told, "Free memory, or serve smaller or fewer models.")
    return ok("memory", told)


def _gpus(gpus: Sequence[Gpu], weights: int) -> Finding:
    names = ", ".join(f"{gpu.name} with {shown(gpu.memory_bytes)}" for gpu in gpus)
    told = f"{names}, driver {gpus[0].driver}; the models' weights take {shown(weights)}"
    if weights > sum(gpu.memory_bytes for gpu in gpus):
        return problem("GPU", told, "Serve smaller or quantised models, or use more GPUs.")
    if weights > gpus[0].memory_bytes:
        return warning("GPU", told, "One GPU doesn't hold them: set tensor_parallel_size in engine_args.")
    return ok("GPU", told)


def _shares(models: Sequence[ModelSettings], gpus: Sequence[Gpu]) -> Iterator[Finding]:
    """Unless told otherwise, the engine of each model takes nearly all of the GPU."""
    greedy = [model.id for model in models if model.engine is EngineKind.VLLM and not model.engine_args.keys() & SHARES]
    if len(models) > 1 and greedy:
        told = f"{len(models)} models on {len(gpus)}, and of {', '.join(greedy)} no share is set"
        yield warning("GPU memory", told, "Set gpu_memory_utilization in engine_args of each, below 1 together.")


def _shared_memory(models: Sequence[ModelSettings]) -> Iterator[Finding]:
    """Workers of one engine talk through it. A container gets 64 MiB unless told otherwise."""
    if not SHARED_MEMORY.is_dir():
        yield problem("shared memory", f"there is no {SHARED_MEMORY}", "Mount one.")
        return
    free = shutil.disk_usage(SHARED_MEMORY).free
    several = any(int(model.engine_args.get(name, 1)) > 1 for model in models for name in SEVERAL_WORKERS)
    told = f"{shown(free)} free in {SHARED_MEMORY}"
    if several and free < SHARED_BYTES:
        yield warning("shared memory", told, "Engines of several workers need more: docker run --shm-size 4g")
    else:
        yield ok("shared memory", told)


def shown(size_bytes: int) -> str:
    return f"{size_bytes / GIB:.1f} GiB"
