"""vLLM's platform for CPUs, with what it lacks for Ray: the name of the resource that a worker takes (vLLM 0.32).

vLLM loads `plugin` (entry point `vllm.platform_plugins`) in each process that it starts, Ray's workers included. It
stands apart from the room engines/vllm, which can't be imported while vLLM still looks for its platform.
"""

from importlib.util import find_spec

from vllm.platforms import cpu_platform_plugin
from vllm.platforms.cpu import CpuPlatform

NAME = "service.engines.ray_platform.RayCpuPlatform"


class RayCpuPlatform(CpuPlatform):  # type: ignore[misc]
    # Ray has no numbers for cores, which vLLM asks its workers for, but for GPUs that a node says it has:
    # `ray start --num-gpus 2` makes room for two workers.
    ray_device_key: str = "GPU"


def plugin() -> str | None:
    """The platform's name, where it is of use."""
    return NAME if find_spec("ray") and cpu_platform_plugin() else None
