"""Use cases over scripted engines, without a server around them."""

from collections.abc import Awaitable, Callable

import pytest

from service.engines.registry import Registry
from service.engines.scripted import Reply, Script, ScriptedEmbeddingEngine, ScriptedLanguageEngine
from service.prompts.task_prefixes import TaskPrefixes
from service.settings import LimitSettings
from service.telemetry.calls import Call

LLM, EMBEDDER = "llm", "embedder"
LIMITS = LimitSettings(max_messages=4, max_contents=4, max_constraint_bytes=1000)

Language = Callable[..., Awaitable[ScriptedLanguageEngine]]
Embedder = Callable[..., Awaitable[ScriptedEmbeddingEngine]]


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
    async def started(prefixes: TaskPrefixes | None = None) -> ScriptedEmbeddingEngine:
        engine = ScriptedEmbeddingEngine(EMBEDDER, LIMITS, prefixes)
        await engine.start()
        return engine

    return started


@pytest.fixture
async def registry(language: Language, embedder: Embedder) -> Registry:
    return Registry([await language(), await embedder()])
