"""From the first listen to the last clean-up.

listen -> load and warm up every engine -> SERVING -> (signal, or an engine dies)
       -> NOT_SERVING -> calls under way finish -> engines stop -> exit code
"""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Sequence

import grpc

from service.decoding.compile_check import CompileCheck
from service.engines.base import Engine
from service.errors import EngineFailed
from service.server.health import Health
from service.server.interceptors import InFlight
from service.server.progress import Progress

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
        health: Health,
        engines: Sequence[Engine],
        in_flight: InFlight,
        compile_check: CompileCheck,
        *,
        address: str,
        grace_s: float,
        progress: Progress,
        ready: Callable[[str], None],
    ) -> None:
        self._server = server
        self._health = health
        self._engines = engines
        self._in_flight = in_flight
        self._compile_check = compile_check
        self.address = address
        self._grace_s = grace_s
        self._progress = progress
        self._ready = ready
        self.loaded = False
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()

    async def run(self) -> int:
        """Serves until a signal or a dead engine ends it, and returns the exit code."""
        self._listen_to_signals()
        await self._server.start()
        exit_code = await self._serve()
        await self._shut_down()
        return exit_code

    def request_stop(self) -> None:
        """Begins an orderly stop; asked a second time, it no longer waits for calls under way."""
        (self._hurry if self._stop.is_set() else self._stop).set()

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.request_stop)

    async def _serve(self) -> int:
        """Loads and serves: 0 when a stop was asked for, 1 when an engine failed."""
        work = asyncio.create_task(self._load_and_watch())
        stop = asyncio.create_task(self._stop.wait())
        await asyncio.wait((work, stop), return_when=asyncio.FIRST_COMPLETED)
        failed = work.done()
        work.cancel()
        stop.cancel()
        await asyncio.gather(work, stop, return_exceptions=True)
        return EXIT_FAILED if failed else EXIT_OK

    async def _load_and_watch(self) -> None:
        """Returns when something has failed, and has said what."""
        failed = False
        try:
            await self._load_all()
        except* EngineFailed as failures:
            failed = True
            for failure in failures.exceptions:
                logger.error("%s", failure)
                logger.debug("The reason", exc_info=failure.__cause__)
        except* Exception as failures:
            failed = True
            logger.error("A model could not be loaded", exc_info=failures)
        if failed:
            return
        self.loaded = True
        await self._health.set_serving(True)
        self._ready(self.address)
        await self._first_failure()
        logger.error("An engine died")

    async def _load_all(self) -> None:
        """All at the same time. When one fails, the others are given up."""
        async with asyncio.TaskGroup() as group:
            for engine in self._engines:
                group.create_task(self._load(engine))

    async def _load(self, engine: Engine) -> None:
        await self._step(f"load {engine.identifier}", engine.start)
        await self._step(f"warm up {engine.identifier}", engine.warm_up)

    async def _step(self, name: str, action: Callable[[], Awaitable[None]]) -> None:
        self._progress.begin(name)
        try:
            await action()
        except Exception:
            self._progress.failed(name)
            raise
        self._progress.done(name)

    async def _first_failure(self) -> None:
        watches = [asyncio.create_task(engine.wait_for_failure()) for engine in self._engines]
        try:
            await asyncio.wait(watches, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for watch in watches:
                watch.cancel()

    async def _shut_down(self) -> None:
        logger.info("Stopping", extra={"in_flight": self._in_flight.count})
        await self._health.set_serving(False)
        finish = asyncio.create_task(self._server.stop(self._grace_s))
        sooner = [asyncio.create_task(self._hurry.wait()), asyncio.create_task(self._calls_finished())]
        await asyncio.wait((finish, *sooner), return_when=asyncio.FIRST_COMPLETED)
        for task in sooner:
            task.cancel()
        if not finish.done():
            await self._server.stop(0 if self._hurry.is_set() else LINGER_S)
        await finish
        await self._in_flight.wait_for_none()
        await asyncio.gather(self._compile_check.close(), *(engine.stop() for engine in self._engines))
        logger.info("Stopped")

    async def _calls_finished(self) -> None:
        """Returns when no call of our own services is left: gRPC would also wait for those who watch our health."""
        await asyncio.sleep(SETTLE_S)  # a call that has just arrived is counted by then
        await self._in_flight.wait_for_none()
