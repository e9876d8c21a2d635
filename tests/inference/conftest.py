"""Use cases over scripted engines, without a server around them."""

from collections.abc import Awaitable, Callable, Sequence

import pytest
from prometheus_client import CollectorRegistry

from service.engines.registry import Registry
from service.engines.scripted import Reply, Script, ScriptedEmbeddingEngine, ScriptedLanguageEngine
from service.images.sources import ImageSources
from service.inference.images import Images
from service.prompts.task_prefixes import TaskPrefixes
from service.settings import LimitSettings
from service.settings.images import FetchSettings
from service.telemetry.calls import Call
from service.telemetry.metrics import ImageMetrics

LLM, EMBEDDER = "llm", "embedder"
NO_IMAGES = Images(ImageSources(0, FetchSettings(), ImageMetrics(CollectorRegistry())))
LIMITS = LimitSettings(max_messages=4, max_contents=4, max_constraint_bytes=1000)


class RecordingEmbeddingEngine(ScriptedEmbeddingEngine):
    """Keeps what it was given to embed."""

    def __init__(self, identifier: str, limits: LimitSettings, task_prefixes: TaskPrefixes | None = None) -> None:
        super().__init__(identifier, limits, task_prefixes)
        self.embedded: list[Sequence[int]] = []

    async def embed(self, request_id: str, token_ids: Sequence[int], dimension: int | None) -> Sequence[float]:
        self.embedded.append(token_ids)
        return await super().embed(request_id, token_ids, dimension)


Language = Callable[..., Awaitable[ScriptedLanguageEngine]]
Embedder = Callable[..., Awaitable[RecordingEmbeddingEngine]]


@pytest.fixture
def call() -> Call:
    return Call("/test", "r-1", trace_id="0" * 31 + "1", span_id="0" * 15 + "2")


@pytest.fixture
def language() -> Language:
    async def started(reply: Reply | str = "Hi.", script: Script | None = None) -> ScriptedLanguageEngine:
        said = Reply(reply) if isinstance(reply, str) else reply
        engine = ScriptedLanguageEngine(LLM, LIMITS, script or (lambda _: said))
        await engine.start()
        return engine

    return started


@pytest.fixture
def embedder() -> Embedder:
    async def started(prefixes: TaskPrefixes | None = None) -> RecordingEmbeddingEngine:
        engine = RecordingEmbeddingEngine(EMBEDDER, LIMITS, prefixes)
        await engine.start()
        return engine

    return started


@pytest.fixture
async def registry(language: Language, embedder: Embedder) -> Registry:
    return Registry([await language(), await embedder()])
