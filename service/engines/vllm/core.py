"""One vLLM engine: building it, watching it, ending it."""

import asyncio
import logging
import math
import os
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any, TypeVar

from pydantic import ValidationError
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.envs import enable_envs_cache
from vllm.exceptions import VLLMClientError
from vllm.platforms import current_platform
from vllm.usage.usage_lib import UsageContext
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

from service.api.models import ModelType
from service.engines.base import Capacity
from service.engines.processes import Family
from service.engines.roll_call import RollCall
from service.engines.vllm import defaults, launches, quantization, stats
from service.engines.vllm.watchdog import wait_for_stall
from service.errors import EngineFailed, InferwireError, InternalError, InvalidField
from service.settings import ModelSettings

logger = logging.getLogger(__name__)
Result = TypeVar("Result")

FAILURE_POLL_S = 0.5
RETRY_AFTER_FAILURE_S = 5.0
STEPS_AHEAD = 2


@dataclass(frozen=True, slots=True)
class EngineHost:
    """What an engine has to know about the server that it runs in."""

    models: int
    """How many models share the machine."""
    grace_s: float
    """How long calls under way may take after a signal, which reaches the engine's processes too."""
    stall_timeout_s: float
    """How long an engine may leave a question unanswered."""
    longest_hold_s: float
    """How long a token may wait for others to be sent with it."""
    workers: int = 1
    """The most processes that compute one model on this machine."""
    own_metrics: bool = False
    """Whether vLLM keeps its own metrics: it takes some microseconds for each token."""
    traces_endpoint: str | None = None
    """Where vLLM's own spans go."""


class EngineCore:
    """An AsyncLLM and its processes."""

    def __init__(self, settings: ModelSettings, host: EngineHost) -> None:
        self._settings = settings
        self._host = host
        self._engine: AsyncLLM | None = None
        self._layout = settings.layout
        self._roll_call = RollCall(settings.id, self._layout, settings.machines.port)
        self._family = Family(())
        self.gauge = stats.LoadGauge(None)

    @property
    def engine(self) -> AsyncLLM:
        if self._engine is None:
            raise EngineFailed("The engine is not running.", retry_after_s=RETRY_AFTER_FAILURE_S)
        return self._engine

    @property
    def alive(self) -> bool:
        return self._engine is not None and not self._engine.errored

    @property
    def capacity(self) -> Capacity:
        config = self.engine.vllm_config
        # Of all data-parallel ranks; vLLM has added up their blocks by itself.
        ranks = len(self.engine.engine_core.engine_ranks_managed)
        requests, tokens = ranks * config.scheduler_config.max_num_seqs, config.scheduler_config.max_num_batched_tokens
        cache = config.cache_config
        if self._settings.type is ModelType.LLM and cache.num_gpu_blocks:
            return Capacity(requests, cache.num_gpu_blocks * cache.block_size)
        # An embedding model keeps nothing between steps: one step's work, and the next one's ready.
        return Capacity(requests, ranks * STEPS_AHEAD * tokens)

    def generated(self, request_id: str) -> int:
        """How many tokens there are of a request that isn't finished; `request_id` is vLLM's own."""
        state = self.engine.output_processor.request_states.get(request_id)
        return state.detokenizer.num_output_tokens() if state else 0

    async def start(self) -> None:
        if self._layout.by_ray and not find_spec("ray"):
            raise EngineFailed("Ray is not installed: pip install 'inferwire[ray]'.")
        await self._roll_call.begin(self._settings.machines.timeout_s)
        self._engine = await self._built()
        self._family = Family(launches.heads_of(self._engine.engine_core.resources))
        self.gauge = stats.gauge_of(self._engine)
        # It reads some for every token, and from here on nobody changes them.
        enable_envs_cache()

    @property
    def waiting_for(self) -> Sequence[str]:
        return self._roll_call.missing

    async def _built(self) -> AsyncLLM:
        """Unless a machine is lost meanwhile, which vLLM would wait for without end."""
        launch = launches.Launch()
        build = asyncio.create_task(_in_daemon_thread(partial(self._build, launch)))
        loss = asyncio.create_task(self._roll_call.loss())
        try:
            await asyncio.wait((build, loss), return_when=asyncio.FIRST_COMPLETED)
            if build.done():
                return build.result()
            raise EngineFailed(f"It has lost {', '.join(self._roll_call.lost)} while it started.")
        finally:
            loss.cancel()
            if not build.done():
                launch.give_up()
                build.cancel()

    def _build(self, launch: launches.Launch) -> AsyncLLM:
        on_cpu = bool(current_platform.is_cpu())
        os.environ.update(defaults.environment(on_cpu=on_cpu, workers=self._host.workers))
        args = quantization.engine_args(self._settings, models=self._host.models, on_cpu=on_cpu)
        args.setdefault("shutdown_timeout", math.ceil(self._host.grace_s))
        args.setdefault("otlp_traces_endpoint", self._host.traces_endpoint)
        # What its metrics call the model.
        args.setdefault("served_model_name", self._settings.id)
        args |= self._layout.placed(node=0)
        config = AsyncEngineArgs(**args).create_engine_config(UsageContext.ENGINE_CONTEXT)
        quantization.refuse_other(self._settings, config.model_config)
        with launch.here():
            return AsyncLLM.from_vllm_config(
                config,
                usage_context=UsageContext.ENGINE_CONTEXT,
                stat_loggers=[stats.MetricsGauge if self._host.own_metrics else stats.LoadGauge],
            )

    async def answered(self, question: Coroutine[Any, Any, Result]) -> Result:
        """The answer of the engine's process. Raises EngineFailed where it dies over it: vLLM would wait for ever."""
        engine, asked = self.engine, asyncio.create_task(question)
        try:
            while not asked.done():
                await asyncio.wait((asked,), timeout=FAILURE_POLL_S)
                if not asked.done() and (engine is not self._engine or not self.alive):
                    raise EngineFailed("The engine died.", retry_after_s=RETRY_AFTER_FAILURE_S)
            return asked.result()
        finally:
            asked.cancel()

    async def wait_for_failure(self) -> None:
        """Ends a stalled engine, for which the rest is as if it had died. Never returns after `stop`."""
        if self._engine is None:
            await asyncio.Event().wait()
        stall = asyncio.create_task(wait_for_stall(self.engine.is_sleeping, self._host.stall_timeout_s))
        stall.add_done_callback(self._kill_if_stalled)
        try:
            whole = True
            while self.alive:
                if whole and (lost := [*self._family.lost(), *self._roll_call.lost]):
                    self._kill(f"has lost {', '.join(lost)}")
                    whole = False
                # vLLM tells of a death by a flag only.
                await asyncio.sleep(FAILURE_POLL_S)
        finally:
            stall.cancel()
        if self._engine is None:
            await asyncio.Event().wait()

    def _kill_if_stalled(self, stall: "asyncio.Task[None]") -> None:
        if stall.cancelled() or stall.exception():
            return  # it was stopped, or is dead already
        self._kill("has stalled")

    def _kill(self, trouble: str) -> None:
        """All of it on this machine: what is left is of no use, and its streams would wait for its end."""
        if self._engine is not None:
            logger.error("The engine of %s %s: it is ended", self._settings.id, trouble)
            self._family.kill()
            if not self._family:  # it is Ray's
                asyncio.get_running_loop().run_in_executor(None, self._engine.engine_core.shutdown)

    async def stop(self) -> None:
        engine, self._engine = self._engine, None
        if engine is not None:
            if engine.output_handler is not None:
                # Still listening, it would log the end of the engine as a crash.
                engine.output_handler.cancel()
            await asyncio.to_thread(engine.shutdown)
            # vLLM may be at it already, in a thread of its own, and a new engine must not meet what is left.
            self._family.kill()
        await self._roll_call.end()


@contextmanager
def loading(model_id: str) -> Iterator[None]:
    """Whatever goes wrong inside, the model could not be loaded."""
    try:
        yield
    except Exception as error:
        # Of a configuration that is wrong, pydantic's own text says in the first line only how often.
        said = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        reason = said.strip().partition("\n")[0]
        raise EngineFailed(f"The model {model_id} could not be loaded: {reason}") from error


async def _in_daemon_thread(work: Callable[[], Result]) -> Result:
    """Like asyncio.to_thread, for work that takes minutes and that the process need not wait for when it ends."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()

    def settle(set_outcome: Callable[[Any], None], outcome: Any) -> None:
        if not future.done():
            set_outcome(outcome)

    def run() -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any longer
            try:
                result = work()
            except Exception as error:
                loop.call_soon_threadsafe(settle, future.set_exception, error)
            else:
                loop.call_soon_threadsafe(settle, future.set_result, result)

    threading.Thread(target=run, name="load-model", daemon=True).start()
    return await future


# What callers know vLLM's parameters as.
FIELDS = {
    "dimensions": "output_dimension",
    "logit_bias": "sampling_params.logit_bias",
    "logprobs": "logprobs.top_k",
    "max_tokens": "sampling_params.max_tokens",
    "min_tokens": "sampling_params.min_tokens",
    "stop": "sampling_params.stop",
    "stop_token_ids": "sampling_params.stop_token_ids",
    "structured_outputs": "response_format",
    "temperature": "sampling_params",
}


def translated(error: Exception) -> InferwireError:
    """The error that a caller is told about, for one that vLLM raised."""
    match error:
        case EngineDeadError():
            return EngineFailed("The engine died.", retry_after_s=RETRY_AFTER_FAILURE_S)
        case VLLMClientError():
            field = FIELDS.get(str(getattr(error, "parameter", "")), "")
            return InvalidField(field, f"The engine refuses it: {error.args[0] if error.args else 'no reason given'}")
        case EngineGenerateError():
            return InternalError("The engine failed on this request.")
        case _:
            return InternalError("The engine failed.")
