"""Scripted engines that take their time, or fail, at the start."""

import asyncio
from collections.abc import AsyncGenerator

from service.api.models import ModelState
from service.engines.base import GenerationRequest, GenerationStep
from service.engines.scripted import ScriptedLanguageEngine
from tests.server.serving import LIMITS, LLM


class SlowToLoad(ScriptedLanguageEngine):
    """Loads and warms up when it is let to."""

    def __init__(self, identifier: str = LLM) -> None:
        super().__init__(identifier, LIMITS)
        self.let_load = asyncio.Event()
        self.let_warm_up = asyncio.Event()
        self.let_warm_up.set()

    async def start(self) -> None:
        await self.let_load.wait()
        await super().start()

    async def warm_up(self) -> None:
        await self.let_warm_up.wait()


class SlowToWrite(ScriptedLanguageEngine):
    """Writes when it is let to."""

    def __init__(self) -> None:
        super().__init__(LLM, LIMITS)
        self.let_write = asyncio.Event()

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[GenerationStep, None]:
        await self.let_write.wait()
        async for step in super().generate(request):
            yield step


class FailsToLoad(ScriptedLanguageEngine):
    def __init__(self, error: Exception, *, warming_up: bool = False) -> None:
        super().__init__("broken", LIMITS)
        self.error = error
        self.warming_up = warming_up
        self.stopped = False

    async def start(self) -> None:
        if not self.warming_up:
            self.model = self.model.model_copy(update={"state": ModelState.FAILED})
            raise self.error
        await super().start()

    async def warm_up(self) -> None:
        raise self.error

    async def stop(self) -> None:
        self.stopped = True
        await super().stop()
