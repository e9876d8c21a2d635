"""One suite for every engine: `served` is each of them in turn, `real` is vLLM with the bundled models."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from service.client import Client
from service.engines.scripted import CONTEXT_LENGTH, Reply, ScriptedEmbeddingEngine, ScriptedLanguageEngine
from service.settings import LimitSettings
from tests.conformance.scripted_server import scripted_server
from tests.serving import EMBEDDER, LLM, ServerProcess, bundled_models

REPLY = "A quick 🦊 jumps over the 懒 dog, again and again."
# Each is one token of MiniLM's.
WORDS = ("time", "river", "stone", "music", "winter", "garden", "light", "paper", "horse", "market", "bridge")


@dataclass(frozen=True)
class Served:
    """A server, and what its tests have to know about its models."""

    target: str
    tokenizer: Any  # of the language model, as transformers loads it
    embedding_tokenizer: Any  # of the embedding model
    embedder_limit: int
    embedder_specials: int  # tokens around every text
    one_token_texts: tuple[str, ...]
    separator: str
    llm: str = LLM
    embedder: str = EMBEDDER

    def text_of(self, tokens: int, first: int = 0) -> str:
        """A text of so many tokens, special ones not counted: a window, from `first` on, of an endless text."""
        pieces = self.one_token_texts
        return self.separator.join(pieces[i % len(pieces)] for i in range(first, first + tokens))

    def prompt_tokens(self, turns: list[dict[str, str]]) -> int:
        """How many tokens transformers makes of a conversation."""
        text = self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        return len(self.tokenizer.encode(text, add_special_tokens=False))


@pytest.fixture(scope="session")
def scripted_served() -> Iterator[Served]:
    llm = ScriptedLanguageEngine(LLM, LimitSettings(), lambda _: Reply(REPLY))
    embedder = ScriptedEmbeddingEngine(EMBEDDER, LimitSettings())
    with scripted_server([llm, embedder]) as target:
        yield Served(
            target=target,
            tokenizer=llm.renderer.tokenizer.pretrained,
            embedding_tokenizer=embedder.tokenizer.pretrained,
            embedder_limit=CONTEXT_LENGTH,
            embedder_specials=0,
            one_token_texts=tuple("abcdefghijk"),
            separator="",
        )


@pytest.fixture(scope="session")
def language_model_folder() -> Path:
    return Path(bundled_models()[0]["path"])


@pytest.fixture(scope="session")
def embedding_model_folder() -> Path:
    return Path(bundled_models()[1]["path"])


@pytest.fixture(scope="session")
def real(real_server: ServerProcess, language_model_folder: Path, embedding_model_folder: Path) -> Served:
    return Served(
        target=real_server.target,
        tokenizer=AutoTokenizer.from_pretrained(language_model_folder),
        embedding_tokenizer=AutoTokenizer.from_pretrained(embedding_model_folder),
        embedder_limit=256,
        embedder_specials=2,
        one_token_texts=WORDS,
        separator=" ",
    )


@pytest.fixture(
    scope="session",
    params=["scripted_served", pytest.param("real", marks=pytest.mark.real_model)],
    ids=["scripted", "vllm"],
)
def served(request: pytest.FixtureRequest) -> Served:
    found: Served = request.getfixturevalue(request.param)
    return found


@pytest.fixture
async def client(served: Served) -> AsyncIterator[Client]:
    async with Client(served.target) as client:
        yield client


@pytest.fixture
async def real_client(real: Served) -> AsyncIterator[Client]:
    async with Client(real.target) as client:
        yield client
