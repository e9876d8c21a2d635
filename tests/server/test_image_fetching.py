"""Images that requests name by URL, from the call to the host and back."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from service.engines.scripted import Reply, ScriptedLanguageEngine
from tests.images.hosts import Certificates, Held, Outside, plain
from tests.pictures import content, picture
from tests.server.serving import LIMITS, LLM, PATIENCE_S, Failure, Running, request, running
from tests.server.test_metrics import HERE, scraped, value

READER = LIMITS.model_copy(update={"max_images": 8})
FIELD = "messages[0].user.content.items.items[0].image.url"
Serve = Callable[..., Any]


@pytest.fixture(scope="module")
def certificates() -> Certificates:
    return Certificates()


@pytest.fixture
async def outside(certificates: Certificates) -> AsyncIterator[Outside]:
    async with Outside(certificates).open() as world:
        world.host.answers = {"/red": plain(picture("red")), "/blue": plain(picture("blue"))}
        yield world


@asynccontextmanager
async def serving(outside: Outside, **fetch: Any) -> AsyncIterator[Running]:
    engine = ScriptedLanguageEngine(LLM, READER, lambda _: Reply("I see."), reads_images=True)
    settings = {**HERE, "images": {"fetch": {"allowed_hosts": [f"images.test:{outside.port}"], **fetch}}}
    async with running(engine, settings=settings, network=outside.network()) as server:
        yield server


def look(*urls: str) -> Any:
    items = content(*({"image": {"url": url}} for url in urls))
    return request("ChatCompletion", model_id=LLM, messages=[{"user": {"content": items}}])


async def test_an_image_is_fetched_for_a_call(outside: Outside) -> None:
    async with serving(outside) as server:
        for method in ("ChatCompletion", "StreamChatCompletion"):
            await server.answers(method, look(outside.url("/red"), outside.url("/blue"), outside.url("/red")))
        assert outside.host.connections == 4
        assert value(await scraped(server), "image_fetches_total", outcome="fetched") == 4


async def test_the_field_is_told_and_little_else(outside: Outside) -> None:
    outside.names.tell("images.test", ["10.0.0.1"])
    async with serving(outside) as server:
        failure = await server.failure("ChatCompletion", look(outside.url("/red")))
        assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
        assert failure.fields == [FIELD]
        assert failure.message == f"{FIELD}: The image's host can't be reached."
        assert value(await scraped(server), "image_fetches_total", outcome="refused") == 1


async def test_nothing_is_fetched_unless_a_host_is_allowed(outside: Outside) -> None:
    async with serving(outside, allowed_hosts=[]) as server:
        failure = await server.failure("ChatCompletion", look(outside.url("/red")))
        assert "This server fetches no images." in failure.message
        assert (outside.host.connections, outside.names.asked) == (0, [])


async def test_the_deadline_of_the_call_ends_the_fetch(outside: Outside) -> None:
    held = Held()
    outside.host.answers = {"/": held}
    async with serving(outside, timeout_s=60) as server:
        failure = await server.failure("ChatCompletion", look(outside.url()), timeout_s=0.5)
        assert failure.code is grpc.StatusCode.DEADLINE_EXCEEDED
        await asyncio.wait_for(held.left.wait(), PATIENCE_S)
        assert value(await scraped(server), "image_fetches_total", outcome="cancelled") == 1


async def test_so_does_a_caller_who_cancels(outside: Outside) -> None:
    held = Held()
    outside.host.answers = {"/": held}
    async with serving(outside, timeout_s=60) as server:
        call = server.call("ChatCompletion", look(outside.url()))
        await held.wait_for(1)
        call.cancel()
        await asyncio.wait_for(held.left.wait(), PATIENCE_S)


async def test_and_the_end_of_the_server(outside: Outside) -> None:
    held = Held()
    outside.host.answers = {"/": held}
    async with serving(outside, timeout_s=60) as server:
        call = server.call("ChatCompletion", look(outside.url()))
        await held.wait_for(1)
        server.stop()
        server.stop()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert Failure.of(caught.value).reason == "DRAINING"
        await asyncio.wait_for(held.left.wait(), PATIENCE_S)


async def test_the_wait_for_images_counts_against_the_first_token(outside: Outside) -> None:
    held = Held()
    outside.host.answers = {"/": held}
    async with serving(outside, timeout_s=60) as server:
        asked = look(outside.url())
        asked.first_token_timeout.FromMilliseconds(300)
        failure = await server.failure("ChatCompletion", asked)
        assert failure.code is grpc.StatusCode.DEADLINE_EXCEEDED
        assert failure.message == "The first token took longer than 0:00:00.300000."
        await asyncio.wait_for(held.left.wait(), PATIENCE_S)
