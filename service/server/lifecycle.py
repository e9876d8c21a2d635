"""From the first listen to the last clean-up.

listen -> load and warm up every engine, each served as soon as it is -> SERVING <-> an engine is brought back
       -> (asked to end, or failed for good)
       -> NOT_SERVING -> new calls are still taken for a while -> calls under way finish -> engines stop -> exit code
"""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import grpc

from service.decoding.compile_check import CompileCheck
from service.engines.base import Engine
from service.errors import EngineFailed
from service.images.sources import ImageSources
from service.inference.adapters import Adapters
from service.server.drain import Drain
from service.server.health import Health
from service.server.interceptors import InFlight
from service.server.metrics import MetricsEndpoint
from service.server.progress import Progress
from service.server.supervision import Supervisor
from service.settings import EngineSettings, FailedLoadPolicy
from service.telemetry.metrics import EngineMetrics

logger = logging.getLogger(__name__)

EXIT_OK = 0
EXIT_FAILED = 1
SETTLE_S = 0.5
# For the last answers to be read, once their calls have finished.
LINGER_S = 2.0


class Lifecycle:
    """Runs one server, once."""

    def __init__(
        self,
        server: grpc.aio.Server,
        probes: grpc.aio.Server,
        health: Health,
        engines: Sequence[Engine],
        in_flight: InFlight,
        compile_check: CompileCheck,
        image_sources: ImageSources,
        adapters: Adapters,
        drain: Drain,
        engine_settings: EngineSettings,
        engine_metrics: EngineMetrics,
        *,
        metrics: MetricsEndpoint | None,
        address: str,
        progress: Progress,
        ready: Callable[[str], None],
    ) -> None:
        self._server = server
        self._probes = probes
        self._health = health
        self._engines = engines
        self._in_flight = in_flight
        self._compile_check = compile_check
        self._image_sources = image_sources
        self._adapters = adapters
        self._drain = drain
        self._settings = engine_settings
        self._supervisors = [
            Supervisor(engine, engine_settings, engine_metrics, progress, self._tell_health, adapters.restore)
            for engine in engines
        ]
        self.metrics = metrics
        self.address = address
        self._ready = ready
        self.loaded = False

    async def run(self) -> int:
        """Serves until it is asked to end or an engine has failed for good, and returns the exit code."""
        self._listen_to_signals()
        await self._server.start()
        await self._probes.start()
        exit_code = await self._serve()
        await self._shut_down(withdraw=exit_code == EXIT_OK and self.loaded)
        return exit_code

    def request_stop(self, window_s: float | None = None) -> None:
        """Begins an orderly stop; asked a second time, it no longer waits for anything."""
        self._drain.begin_or_hurry(window_s)

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.request_stop)
        # A person at the keyboard has no balancer that would have to notice.
        loop.add_signal_handler(signal.SIGINT, self.request_stop, 0.0)

    async def _serve(self) -> int:
        """Loads and serves: 0 when an end was asked for, 1 when an engine failed."""
        work = asyncio.create_task(self._load_and_watch())
        stop = asyncio.create_task(self._drain.wait_until_asked())
        await asyncio.wait((work, stop), return_when=asyncio.FIRST_COMPLETED)
        failed = work.done()
        work.cancel()
        stop.cancel()
        await asyncio.gather(work, stop, return_exceptions=True)
        return EXIT_FAILED if failed else EXIT_OK

    async def _load_and_watch(self) -> None:
        """Returns when something has failed for good that ends the server, and has said what."""
        loads = {supervisor: asyncio.create_task(self._load(supervisor)) for supervisor in self._supervisors}
        watches = [asyncio.create_task(self._keep_alive(supervisor, loads[supervisor])) for supervisor in loads]
        try:
            if await self._all_settled(list(loads.values())):
                self.loaded = True
                await self._tell_health()
                self._ready(self.address)
                await self._none_left(watches)
        finally:
            for task in (*loads.values(), *watches):
                task.cancel()
            await asyncio.gather(*loads.values(), *watches, return_exceptions=True)

    async def _load(self, supervisor: Supervisor) -> bool:
        """Whether it succeeds; else the log says why not."""
        try:
            await supervisor.load()
            return True
        except EngineFailed as failure:
            logger.error("%s", failure)
            logger.debug("The reason", exc_info=failure.__cause__)
        except Exception:
            logger.exception("The model %s could not be loaded", supervisor.model_id)
        await supervisor.give_up()
        return False

    async def _all_settled(self, loads: "Sequence[asyncio.Task[bool]]") -> bool:
        """Returns when each model is loaded or can't be, or as soon as one ends the server; whether it serves."""
        for settled in asyncio.as_completed(loads):
            if not await settled and self._settings.on_failed_load is FailedLoadPolicy.EXIT:
                return False
        return not loads or any(load.result() for load in loads)

    async def _keep_alive(self, supervisor: Supervisor, load: "asyncio.Task[bool]") -> bool:
        """Returns when the engine has failed for good; whether that ends the server."""
        if not await asyncio.shield(load):
            return False
        others = [other for other in self._supervisors if other is not supervisor]
        try:
            await supervisor.keep_alive(lambda: not all(other.given_up for other in others))
        except Exception:
            logger.exception("The engine of %s can't be looked after", supervisor.model_id)
        return True

    async def _none_left(self, watches: "Sequence[asyncio.Task[bool]]") -> None:
        """Returns when the failure of an engine ends the server."""
        for failed in asyncio.as_completed(watches):
            if await failed:
                return
        if not watches:
            await asyncio.Event().wait()

    async def _tell_health(self) -> None:
        for supervisor in self._supervisors:
            await self._health.set_model_serving(supervisor.model_id, supervisor.serving)
        some = any(supervisor.serving for supervisor in self._supervisors) or not self._supervisors
        await self._health.set_serving(self.loaded and some)

    async def _shut_down(self, *, withdraw: bool) -> None:
        """With `withdraw` new calls are still taken for a while, as those who send them don't know yet."""
        logger.info("Stopping", extra={"in_flight": self._in_flight.count})
        await self._health.set_ending()
        if withdraw:
            await self._unless_in_a_hurry(asyncio.sleep(self._drain.times.window_s))
        # Tells connections to go away. From here on a balanced client is elsewhere: refusing its calls before would
        # fail those that it has already sent.
        finish = asyncio.create_task(self._server.stop(self._drain.times.budget_s + LINGER_S))
        with suppress(TimeoutError):
            async with asyncio.timeout(self._drain.times.budget_s):
                await self._unless_in_a_hurry(self._calls_finished(finish))
        self._in_flight.end_all()
        if not finish.done():
            await self._server.stop(LINGER_S)
        await finish
        await self._in_flight.wait_for_none()
        await self._adapters.close()
        await asyncio.gather(self._compile_check.close(), *(engine.stop() for engine in self._engines))
        self._image_sources.close()
        await self._probes.stop(None)
        if self.metrics:
            await asyncio.to_thread(self.metrics.stop)
        logger.info("Stopped")

    async def _unless_in_a_hurry(self, waiting: Awaitable[None]) -> None:
        first = asyncio.ensure_future(waiting)
        hurry = asyncio.create_task(self._drain.wait_for_hurry())
        try:
            await asyncio.wait((first, hurry), return_when=asyncio.FIRST_COMPLETED)
        finally:
            first.cancel()
            hurry.cancel()

    async def _calls_finished(self, finish: "asyncio.Task[None]") -> None:
        """Returns when no call of our own services is left: gRPC would also wait for those who watch our health."""
        settled = asyncio.create_task(asyncio.sleep(SETTLE_S))  # a call that has just arrived is counted by then
        await asyncio.wait((finish, settled), return_when=asyncio.FIRST_COMPLETED)
        await self._in_flight.wait_for_none()
