"""The engine's cache of prompts tells no caller what others have asked."""

from pathlib import Path

import pytest

from service.client import Client
from tests.e2e.calls import chat
from tests.serving import bundled_models, server_process, settings_file

pytestmark = pytest.mark.real_model

LONG = "The quarterly figures of the northern branch are as follows. " * 30
IDENTITIES = [{"name": name, "token": f"token-of-{name}"} for name in ("shop", "search")]


async def cached_tokens(target: str, name: str) -> int:
    async with Client(target, token=f"token-of-{name}") as client:
        return (await client.chat(chat(LONG))).usage.cached_tokens


async def test_a_prompt_is_found_in_the_cache_by_those_who_sent_it(tmp_path: Path) -> None:
    config = settings_file(tmp_path, bundled_models()[:1], identities=IDENTITIES)
    with server_process(tmp_path, "--config", config) as server:
        server.wait_until_serving()
        assert await cached_tokens(server.target, "shop") == 0
        assert await cached_tokens(server.target, "shop") > 0
        assert await cached_tokens(server.target, "search") == 0
        assert await cached_tokens(server.target, "search") > 0
