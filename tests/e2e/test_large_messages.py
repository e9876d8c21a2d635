"""Requests far too large are refused clearly, and don't hold others up. On the real server."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import aclosing, asynccontextmanager

import pytest

from service.api.events import Event
from service.client import Client
from service.errors import ContextLengthExceeded, InferwireError, MessageTooLarge
from tests.e2e.calls import chat, completion, embeddings
from tests.serving import ServerProcess

pytestmark = pytest.mark.real_model

MIB = 1024 * 1024
# Events that can come in a moment, also when nothing moves for as long as the text is read, which takes seconds.
FEW = 3
PROSE = "The river runs past the old stone bridge and the market. "


@pytest.fixture
async def client(real_server: ServerProcess) -> AsyncIterator[Client]:
    async with Client(real_server.target) as client:
        yield client


def text_of(size: int) -> str:
    return (PROSE * (size // len(PROSE) + 1))[:size]


async def refusal_of(call: Awaitable[object]) -> InferwireError:
    with pytest.raises(InferwireError) as failure:
        await call
    return failure.value


@asynccontextmanager
async def stream_beside(client: Client) -> AsyncIterator[list[Event]]:
    """A stream that runs meanwhile and still runs afterwards; its events so far."""
    came: list[Event] = []
    begun, over = asyncio.Event(), asyncio.Event()

    async def read() -> None:
        async with aclosing(client.stream_chat(chat(tokens=8000))) as events:
            async for event in events:
                came.append(event)
                begun.set()
                if over.is_set():
                    return
        raise AssertionError("the stream ended before the calls beside it")

    reader = asyncio.create_task(read())
    await begun.wait()
    try:
        yield came
    finally:
        over.set()
        await reader


TEXTS = {"prose": text_of(8 * MIB), "one word": "x" * 8 * MIB, "emoji": "🦊" * 2 * MIB, "blanks": " " * 8 * MIB}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
async def test_a_conversation_of_8_mb_is_too_long(client: Client, text: str) -> None:
    async with stream_beside(client):
        error = await refusal_of(client.chat(chat(text)))
    assert isinstance(error, ContextLengthExceeded)
    assert error.violations[0].field == "messages"


async def test_a_prompt_of_8_mb_is_too_long(client: Client) -> None:
    error = await refusal_of(client.complete(completion(text_of(8 * MIB))))
    assert isinstance(error, ContextLengthExceeded)
    assert error.violations[0].field == "content"


async def test_a_text_of_8_mb_is_too_long_to_embed(client: Client) -> None:
    error = await refusal_of(client.embed(embeddings("short", text_of(8 * MIB))))
    assert isinstance(error, ContextLengthExceeded)
    assert error.violations[0].field == "contents[1].text"


async def test_a_text_of_8_mb_that_is_one_token_holds_nobody_up(client: Client) -> None:
    async with stream_beside(client) as came:
        before = len(came)
        [embedding] = (await client.embed(embeddings("🦊" * 2 * MIB))).embeddings
        meanwhile = len(came) - before
    assert embedding.used_tokens == 3
    assert meanwhile > FEW


async def test_a_message_of_20_mb_is_too_large(client: Client) -> None:
    text = text_of(20 * MIB)
    async with stream_beside(client):
        for call in (client.chat(chat(text)), anext(client.stream_chat(chat(text))), client.embed(embeddings(text))):
            error = await refusal_of(call)
            assert isinstance(error, MessageTooLarge)
            assert error.metadata["limit"] == str(16 * MIB)
            assert int(error.metadata["bytes"]) > 20 * MIB
