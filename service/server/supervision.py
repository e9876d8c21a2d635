"""Keeps one engine going: loads it, notices its death, and brings it back as often as it may."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable

from service.engines.base import Engine
from service.errors import EngineFailed
from service.server.progress import Progress
from service.settings import EngineFailurePolicy, EngineSettings
from service.telemetry.metrics import EngineMetrics

logger = logging.getLogger(__name__)

LONGEST_BACKOFF_S = 60.0
TURN_POLL_S = 1.0


class Supervisor:
    """Looks after one engine. `changed` is told when the engine serves, and when it no longer does.

    `restore` puts into a new engine what an earlier one has had.
    """

    def __init__(
        self,
        engine: Engine,
        settings: EngineSettings,
        metrics: EngineMetrics,
        progress: Progress,
        changed: Callable[[], Awaitable[None]],
        restore: Callable[[Engine], Awaitable[None]],
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._metrics = metrics
        self._progress = progress
        self._changed = changed
        self._restore = restore
        self._restarts: deque[float] = deque()
        self._loaded = False
        self.given_up = False
        """Whether nothing is being done to make it serve."""

    @property
    def model_id(self) -> str:
        return self._engine.identifier

    @property
    def serving(self) -> bool:
        """Whether the engine is loaded, has answered once, and is alive."""
        return self._loaded and self._engine.ready

    async def load(self) -> None:
        """Raises EngineFailed."""
        self._loaded = False
        await self._step(f"load {self._engine.identifier}", self._engine.start)
        await self._step(f"warm up {self._engine.identifier}", self._engine.warm_up)
        await self._restore(self._engine)
        self._loaded = True
        await self._changed()

    async def give_up(self) -> None:
        """Of an engine that could not be loaded: nothing of it may stay, or answer."""
        self.given_up = True
        await self._engine.stop()
        await self._changed()

    async def keep_alive(self, others_go_on: Callable[[], bool]) -> None:
        """Returns when the engine has failed for good: never where it may be restarted, and others go on."""
        await self._failure()
        while self._may_restart() or await self._turn(others_go_on):
            self._restarts.append(time.monotonic())
            await asyncio.sleep(self._backoff_s())
            if await self._restarted():
                await self._failure()
        self.given_up = True

    async def _turn(self, others_go_on: Callable[[], bool]) -> bool:
        """Waits while others go on, until there may be a restart again. Whether there may."""
        if self._settings.on_failure is not EngineFailurePolicy.RESTART or not self._restarts:
            return False
        self.given_up = True
        while others_go_on():
            if self._may_restart():
                self.given_up = False
                return True
            await asyncio.sleep(TURN_POLL_S)
        return False

    async def _failure(self) -> None:
        """Returns when everybody knows of it."""
        await self._engine.wait_for_failure()
        logger.error("The engine of %s died", self._engine.identifier)
        self._metrics.record_failure(self._engine.identifier)
        await self._changed()

    def _may_restart(self) -> bool:
        oldest = time.monotonic() - self._settings.restart_period_s
        while self._restarts and self._restarts[0] < oldest:
            self._restarts.popleft()
        wanted = self._settings.on_failure is EngineFailurePolicy.RESTART
        return wanted and len(self._restarts) < self._settings.max_restarts

    def _backoff_s(self) -> float:
        """Twice as long each time; the first restart waits for nothing that has just happened once."""
        doublings = len(self._restarts) - 1
        return float(min(LONGEST_BACKOFF_S, self._settings.restart_backoff_s * 2**doublings))

    async def _restarted(self) -> bool:
        logger.info("Starting the engine of %s again", self._engine.identifier)
        try:
            await self._engine.stop()
            await self.load()
        except EngineFailed as failure:
            logger.error("%s", failure)
            logger.debug("The reason", exc_info=failure.__cause__)
            return False
        logger.info("The engine of %s is back", self._engine.identifier)
        return True

    async def _step(self, name: str, action: Callable[[], Awaitable[None]]) -> None:
        self._progress.begin(name)
        try:
            await action()
        except Exception:
            self._progress.failed(name)
            raise
        self._progress.done(name)
