"""How a model is spread over processes and machines, as its `engine_args` say it. The spreading itself is vLLM's."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

WORKER_SIZES = ("tensor_parallel_size", "pipeline_parallel_size", "prefill_context_parallel_size")
BALANCED_OUTSIDE = ("data_parallel_rank", "data_parallel_external_lb", "data_parallel_hybrid_lb")
"""Each rank has a server of its own then, with a balancer in front."""
PLACED_BY_JOIN = ("node_rank", "data_parallel_start_rank")


@dataclass(frozen=True, slots=True)
class Layout:
    """`data` ranks, each a whole model that is spread over `rank_workers` processes, on `nodes` machines.

    Ray places its workers by itself: for us that is one machine.
    """

    rank_workers: int = 1
    data: int = 1
    nodes: int = 1
    address: str = ""
    """Of the first machine, where there are others."""
    by_ray: bool = False

    @property
    def workers(self) -> int:
        """The processes that compute on one machine."""
        return 1 if self.by_ray else self.rank_workers * self.data // self.nodes

    def part(self, node: int) -> str:
        """What a machine runs, in words."""
        noun, each = ("data-parallel rank", self.data // self.nodes) if self.data > 1 else ("worker", self.workers)
        first, last = node * each, (node + 1) * each - 1
        return f"{noun} {first}" if first == last else f"{noun}s {first} to {last}"

    def placed(self, node: int) -> dict[str, int]:
        """The arguments that are different on each machine."""
        if self.nodes == 1:
            return {}
        if self.data == 1:
            return {"node_rank": node}
        # On the first machine the number would ask vLLM for another way of balancing.
        return {"data_parallel_start_rank": node * self.data // self.nodes} if node else {}


def layout_of(engine_args: Mapping[str, Any]) -> Layout:
    """Raises ValueError with a sentence for the operator."""
    rank_workers = 1
    for name in WORKER_SIZES:
        rank_workers *= _size(engine_args, name)
    data, nodes = _size(engine_args, "data_parallel_size"), _size(engine_args, "nnodes")
    if "ray" in (engine_args.get("distributed_executor_backend"), engine_args.get("data_parallel_backend")):
        if nodes > 1:
            raise ValueError("engine_args.nnodes: Ray knows its machines itself")
        return Layout(rank_workers, data, by_ray=True)
    if any(engine_args.get(name) not in (None, False) for name in BALANCED_OUTSIDE):
        return Layout(rank_workers, _size(engine_args, "data_parallel_size_local"))
    if nodes > 1:
        _check_workers_over(nodes, rank_workers, data)
        return Layout(rank_workers, nodes=nodes, address=_first_machine(engine_args, "master_addr"))
    local = _size(engine_args, "data_parallel_size_local", default=data)
    if data % local:
        raise ValueError(f"engine_args.data_parallel_size: {data} isn't a multiple of data_parallel_size_local")
    if local == data:
        return Layout(rank_workers, data)
    return Layout(rank_workers, data, data // local, _first_machine(engine_args, "data_parallel_address"))


def _check_workers_over(nodes: int, rank_workers: int, data: int) -> None:
    if data > 1:
        raise ValueError("engine_args.nnodes: with data_parallel_size, set data_parallel_size_local instead")
    if rank_workers % nodes:
        raise ValueError(f"engine_args.nnodes: {rank_workers} workers can't be spread evenly over {nodes} machines")


def _first_machine(engine_args: Mapping[str, Any], name: str) -> str:
    if not engine_args.get(name):
        raise ValueError(f"engine_args.{name}: has to be the first machine's address, which the others reach it by")
    if placed := [name for name in PLACED_BY_JOIN if engine_args.get(name) is not None]:
        raise ValueError(f"engine_args.{placed[0]}: leave it to `inferwire join --node`, on each machine")
    return str(engine_args[name])


def _size(engine_args: Mapping[str, Any], name: str, default: int = 1) -> int:
    value = engine_args.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"engine_args.{name}: has to be a whole number of at least 1")
    return value
