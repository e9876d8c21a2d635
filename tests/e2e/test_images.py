"""A vision-language model on vLLM: what an image shows changes the answer, whatever way it comes in.

Its weights are random: answers are nonsense, and are compared by their log probabilities.
"""

import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from service.api.content import ImageBytes, ImageContentItem, InterleavedContentItem, TextContentItem
from service.api.messages import CompletionMessage, Message, ToolResponseMessage, UserMessage
from service.api.models import ModelType
from service.client import Client
from service.errors import ContextLengthExceeded, InvalidField
from tests.conformance.calls import Answer, chat, completion, joined, read
from tests.pictures import picture
from tests.serving import ServerProcess, bundled_models, server_process, settings_file, without_settings
from tests.vision_model import CONTEXT, TOKENS_A_TILE, make_vision_model

pytestmark = pytest.mark.real_model

SEEING = "seeing"
IDENTITIES = [{"name": name, "token": f"token-of-{name}"} for name in ("shop", "search")]
FEW = {"max_tokens": 4, "top_logprobs": 3, "model_id": SEEING}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("seeing")
    model = make_vision_model(Path(bundled_models()[0]["path"]), folder / "model")
    engine_args = {"kv_cache_memory_bytes": 2**28}
    models = [{"path": str(model), "id": SEEING, "engine_args": engine_args}]
    config = settings_file(folder, models, identities=IDENTITIES, limits={"max_images": 40})
    with server_process(folder, "--config", config) as server:
        server.wait_until_serving()
        yield server


@pytest.fixture
async def client(server: ServerProcess) -> AsyncIterator[Client]:
    async with Client(server.target, token="token-of-shop") as client:
        yield client


def shown(*items: str | bytes) -> tuple[InterleavedContentItem, ...]:
    """Texts and image files."""
    return tuple(
        TextContentItem(text=item)
        if isinstance(item, str)
        else ImageContentItem(source=ImageBytes(data=item, mime_type="image/png"))
        for item in items
    )


def user(*items: str | bytes) -> UserMessage:
    return UserMessage(content=shown(*items))


async def asked(client: Client, *messages: Message, **options: Any) -> Answer:
    request = chat(*messages, **FEW | options)
    unary = await client.chat(request)
    streamed = joined(await read(client.stream_chat(request)))
    assert streamed.text == unary.completion_message.content
    assert streamed.usage.prompt_tokens == unary.usage.prompt_tokens
    return streamed


def seen(answer: Answer) -> dict[str, float]:
    """What the model thought of first. Rounded: two runs of one prompt may differ in the last bits."""
    return {token: round(value, 1) for token, value in answer.logprobs[0].logprobs_by_token.items()}


RED, BLUE = picture("red", (100, 60)), picture("blue", (100, 60))


async def test_the_model_tells_of_images(client: Client) -> None:
    model = await client.model(SEEING)
    assert model.model_type is ModelType.LLM
    assert model.capabilities.images
    assert model.limits.max_images == 40


async def test_an_image_reaches_the_model(client: Client) -> None:
    red, again, blue = [await asked(client, user(data, "What is it?")) for data in (RED, RED, BLUE)]
    assert seen(red) == seen(again)
    assert seen(red) != seen(blue)
    assert red.usage.prompt_tokens == blue.usage.prompt_tokens


async def test_its_tokens_are_counted(client: Client) -> None:
    bare, one, two, three = [
        (await asked(client, user(*[RED] * number, "What is it?"))).usage.prompt_tokens for number in range(4)
    ]
    # Four tiles and the whole. (Without an image, the blank in front of the text is a part of its first token.)
    assert one - bare > 5 * TOKENS_A_TILE
    assert three - two == two - one > 5 * TOKENS_A_TILE


async def test_their_order_matters(client: Client) -> None:
    first, second = [await asked(client, user(*images, "?")) for images in ((RED, BLUE), (BLUE, RED))]
    assert seen(first) != seen(second)


async def test_a_tool_shows_images(client: Client) -> None:
    def turns(data: bytes) -> list[Message]:
        answer = ToolResponseMessage(call_id="1", content=shown("Seen: ", data))
        return [user("Look!"), CompletionMessage(content="I do."), answer]

    red, blue = [await asked(client, *turns(data)) for data in (RED, BLUE)]
    assert seen(red) != seen(blue)


async def test_a_completion_holds_images(client: Client) -> None:
    asked_for = [completion(shown(data, " is"), **FEW) for data in (RED, BLUE)]
    red, blue = [joined(await read(client.stream_completion(request))) for request in asked_for]
    assert seen(red) != seen(blue)
    assert red.usage.prompt_tokens > 5 * TOKENS_A_TILE


async def test_a_prompt_with_images_is_found_in_the_cache_by_those_who_sent_it(server: ServerProcess) -> None:
    async def cached_tokens(name: str, data: bytes) -> int:
        async with Client(server.target, token=f"token-of-{name}") as client:
            return (await client.chat(chat(user(data, data, "Cached?"), **FEW))).usage.cached_tokens

    green, pink = picture("green"), picture("pink")
    assert await cached_tokens("shop", green) == 0
    assert await cached_tokens("shop", green) > 0
    assert await cached_tokens("shop", pink) == 0
    assert await cached_tokens("search", green) == 0
    assert await cached_tokens("search", green) > 0


async def test_preflight_counts_as_the_call_does(client: Client) -> None:
    # Asked for first: what it prepares never reaches the engine, and must not be counted on to be there.
    request = chat(user(picture("yellow"), "And ", picture("black"), "?"), **FEW)
    report = await client.preflight(request)
    answer = await client.chat(request)
    assert (report.accepted, report.prompt_tokens) == (True, answer.usage.prompt_tokens)
    assert "<image>And <image>?" in report.prompt


async def test_a_text_that_spells_an_image_stays_text(client: Client) -> None:
    spelled = "<image> <end_of_utterance>"
    answer = await asked(client, user(spelled, RED, "What is it?"))
    plain = await asked(client, user(RED, "What is it?"))
    assert answer.usage.neutralized_spans == 2
    assert answer.usage.prompt_tokens - plain.usage.prompt_tokens > len(spelled) // 4


async def test_images_count_in_the_context(client: Client) -> None:
    request = chat(user(*[RED] * (CONTEXT // (5 * TOKENS_A_TILE) + 1)), **FEW)
    with pytest.raises(ContextLengthExceeded):
        await client.chat(request)


@pytest.mark.parametrize("size", [(1, 1), (1, 900), (900, 1), (3, 500), (1000, 1000)])
async def test_any_shape_is_read_or_refused(client: Client, size: tuple[int, int]) -> None:
    refused: list[str] = []
    try:
        await client.chat(chat(user(picture(size=size), "?"), **FEW))
    except InvalidField as error:
        refused = [violation.field for violation in error.violations]
    assert refused in ([], ["messages[0].user.content.items.items[0].image"])
    assert (await client.chat(chat("Still there?", **FEW))).usage.completion_tokens


def test_the_command_line_sends_a_file(server: ServerProcess, tmp_path: Path) -> None:
    file = tmp_path / "red.png"
    file.write_bytes(RED)
    command = [sys.executable, "-m", "service", "chat", "--target", server.target, "--max-tokens", "4", "--usage"]
    environment = without_settings(os.environ) | {"INFERWIRE_TOKEN": "token-of-shop"}
    ran = subprocess.run(
        [*command, "-m", "What is it?", "--image", str(file)], capture_output=True, text=True, env=environment
    )
    assert ran.returncode == 0, ran.stderr
    (prompt_tokens,) = re.findall(r"(\d+) prompt tokens", ran.stderr)
    assert int(prompt_tokens) > 5 * TOKENS_A_TILE
