"""NVIDIA's GPUs, as its own tool lists them: no library of theirs has to be installed for that."""

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

PATIENCE_S = 20
MIB = 1024**2


@dataclass(frozen=True, slots=True)
class Gpu:
    name: str
    memory_bytes: int
    driver: str


@cache
def find_gpus() -> Sequence[Gpu]:
    """None where the tool is missing or doesn't work: then CUDA doesn't either."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ()
    question = [tool, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(question, capture_output=True, text=True, timeout=PATIENCE_S, check=True).stdout
        return [_gpu(line) for line in answer.splitlines()]
    except (OSError, ValueError, subprocess.SubprocessError):
        return ()


def _gpu(line: str) -> Gpu:
    name, memory_mib, driver = (part.strip() for part in line.split(","))
    return Gpu(name, int(memory_mib) * MIB, driver)
