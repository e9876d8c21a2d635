"""vLLM's worker for CPUs, mended in two places (vLLM 0.32).

A prompt that is computed in pieces draws a random number with each of them, which nobody uses. vLLM takes it back by
moving the generator of a request with a seed, in a way that only GPUs know: on a CPU the engine dies of it, and with
it every call. Whoever sends a seed with a long prompt, or beside other long prompts, could end the server.

A later stage of a pipeline takes what the one before has computed into tensors that vLLM makes as it tries the model
out, which on a CPU it leaves out where nothing is compiled: the first request would end the engine.
"""

from collections.abc import Callable, Iterable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import numpy
from vllm.distributed.parallel_state import get_pp_group
from vllm.v1.worker.cpu_model_runner import CPUModelRunner
from vllm.v1.worker.cpu_worker import CPUWorker


class CpuWorker(CPUWorker):  # type: ignore[misc]
    def init_device(self) -> None:
        super().init_device()
        runner = self.model_runner
        if isinstance(runner, CPUModelRunner):
            runner._bookkeeping_sync = _mended(runner, runner._bookkeeping_sync)

    def load_model(self, **kwargs: Any) -> None:
        super().load_model(**kwargs)
        runner = self.model_runner
        if not get_pp_group().is_first_rank and runner.intermediate_tensors is None:
            runner.intermediate_tensors = runner.get_model().make_empty_intermediate_tensors(
                batch_size=runner.max_num_tokens, dtype=runner.model_config.dtype, device=runner.device
            )


def _mended(runner: Any, keep_books: Callable[..., Any]) -> Callable[..., Any]:
    def mended(*args: Any, **kwargs: Any) -> Any:
        unfinished = numpy.nonzero(runner.discard_request_mask.np[: runner.input_batch.num_reqs])[0]
        with restarted(runner.input_batch.generators, map(int, unfinished)):
            return keep_books(*args, **kwargs)

    return mended


@contextmanager
def restarted(generators: MutableMapping[int, Any], requests: Iterable[int]) -> Iterator[None]:
    """Restarts the generators of requests that have nothing to show yet, and hides them from vLLM for a while."""
    hidden = {index: generators.pop(index) for index in requests if index in generators}
    for generator in hidden.values():
        generator.manual_seed(generator.initial_seed())
    try:
        yield
    finally:
        generators.update(hidden)
