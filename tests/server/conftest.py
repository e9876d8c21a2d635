"""A server with a language model and an embedding model."""

from collections.abc import AsyncIterator

import pytest

from service.engines.scripted import ScriptedEmbeddingEngine, ScriptedLanguageEngine
from tests.server.serving import Running, embedder, language, running


@pytest.fixture
def llm() -> ScriptedLanguageEngine:
    return language()


@pytest.fixture
def embedding() -> ScriptedEmbeddingEngine:
    return embedder()


@pytest.fixture
async def server(llm: ScriptedLanguageEngine, embedding: ScriptedEmbeddingEngine) -> AsyncIterator[Running]:
    async with running(llm, embedding) as served:
        yield served
