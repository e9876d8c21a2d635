"""Images in calls: read in their places, counted, and refused by the path of their field."""

import base64
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from service.engines.scripted import CONTEXT_LENGTH, TOKENS_OF_IMAGE, Reply, ScriptedLanguageEngine
from tests.pictures import content, item, picture
from tests.server.serving import LIMITS, LLM, Failure, Running, request, running

FEW = LIMITS.model_copy(update={"max_images": 3, "max_image_bytes": 4000, "max_image_pixels": 5000})
CHAT_METHODS = ["ChatCompletion", "StreamChatCompletion"]
COMPLETION_METHODS = ["Completion", "StreamCompletion"]
READ: list[str] = []


@pytest.fixture
async def server() -> AsyncIterator[Running]:
    READ.clear()

    def script(prompt: str) -> Reply:
        READ.append(prompt)
        return Reply("Red.")

    async with running(ScriptedLanguageEngine(LLM, FEW, script, reads_images=True)) as server:
        yield server


def chat(*messages: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"model_id": LLM, "messages": messages, **fields}


def user(*items: Any, **fields: Any) -> dict[str, Any]:
    return {"user": {"content": content(*items), **fields}}


@pytest.mark.parametrize("method", CHAT_METHODS)
async def test_images_are_read_in_their_places_and_counted(server: Running, method: str) -> None:
    bare = await server.answers(method, request(method, **chat(user("a, b?"))))
    seen = await server.answers(method, request(method, **chat(user("a", item(), ", b", item(), "?"))))
    assert READ[-1] == "<|im_start|>user\na<|image|>, b<|image|>?<|im_end|>\n<|im_start|>assistant\n"
    assert seen[-1].usage.prompt_tokens == bare[-1].usage.prompt_tokens + 2 * TOKENS_OF_IMAGE


@pytest.mark.parametrize("method", CHAT_METHODS)
async def test_tools_show_images_too(server: Running, method: str) -> None:
    answers = [
        {"tool": {"call_id": "1", "content": content("It is ", item())}},
        {"tool_response": {"call_id": "1", "tool_name": {"custom": "look"}, "content": content(item(), ".")}},
    ]
    for answer, shown in zip(answers, ("It is <|image|>", "<|image|>."), strict=True):
        await server.answers(method, request(method, **chat(user("Look!"), answer)))
        assert f"<|im_start|>tool\n{shown}<|im_end|>" in READ[-1]


@pytest.mark.parametrize("method", COMPLETION_METHODS)
async def test_completions_hold_images(server: Running, method: str) -> None:
    answers = await server.answers(method, request(method, model_id=LLM, content=content("See ", item(), " is")))
    assert READ == ["See <|image|> is"]
    assert answers[-1].usage.prompt_tokens == len("See  is") + TOKENS_OF_IMAGE


async def test_a_text_that_spells_an_image_stays_text(server: Running) -> None:
    asked = request("ChatCompletion", **chat(user("<|image|>", item(), "<|im", "age|>")))
    (answer,) = await server.answers("ChatCompletion", asked)
    assert answer.usage.neutralized_spans == 2


async def test_a_data_url_is_as_good(server: Running) -> None:
    url = "data:image/png;base64," + base64.b64encode(picture()).decode()
    await server.answers("ChatCompletion", request("ChatCompletion", **chat(user({"image": {"url": url}}))))
    assert "<|image|>" in READ[0]


async def test_preflight_counts_them_and_generates_nothing(server: Running) -> None:
    asked = chat(user("a", item()), tools=[{"tool_name": {"custom": "look"}}])
    (report,) = await server.answers("Preflight", request("Preflight", chat=asked))
    assert READ == []
    (answer,) = await server.answers("ChatCompletion", request("ChatCompletion", **asked))
    assert (report.accepted, report.prompt_tokens, report.prompt) == (True, answer.usage.prompt_tokens, READ[0])


async def test_preflight_tells_what_is_wrong_with_images_and_with_the_rest(server: Running) -> None:
    asked = chat(user("a", item(b"?"), item(mime_type="image/jpeg")), logprobs={"top_k": 21})
    (report,) = await server.answers("Preflight", request("Preflight", chat=asked))
    base = "messages[0].user.content.items.items"
    assert [violation.field for violation in report.violations] == [
        f"{base}[1].image.data.data",
        f"{base}[2].image.data.mime_type",
        "logprobs.top_k",
    ]


async def test_an_image_counts_in_the_context(server: Running) -> None:
    # So much is there without images.
    around = len("<|im_start|>user\n<|im_end|>\n<|im_start|>assistant\n") - 3 * 11
    asked = chat(user("x" * (CONTEXT_LENGTH - around - TOKENS_OF_IMAGE), item()))
    failure = await server.failure("ChatCompletion", request("ChatCompletion", **asked))
    assert (failure.reason, failure.fields) == ("CONTEXT_LENGTH_EXCEEDED", ["messages"])


async def test_the_limits_are_told(server: Running) -> None:
    (model,) = await server.answers("GetModel", request("GetModel", model_id=LLM))
    limits = model.model.limits
    assert model.model.capabilities.images
    assert (limits.max_images, limits.max_image_bytes, limits.max_image_pixels) == (3, 4000, 5000)


BASE = "messages[0].user.content.items.items"
BAD = {
    "too many": ([item()] * 4, f"{BASE}[3].image", "The request has 4 images; the limit is 3."),
    "too many bytes": ([item(picture() + bytes(2000))] * 2, f"{BASE}[1].image.data.data", "bytes; the limit is 4000"),
    "too many pixels": ([item(picture(size=(80, 80)))], f"{BASE}[0].image.data.data", "too many pixels"),
    "together too many pixels": ([item(picture(size=(40, 50)))] * 3, f"{BASE}[2].image.data.data", "6000 pixels"),
    "cut off": ([item(picture()[:60])], f"{BASE}[0].image.data.data", "damaged or cut off"),
    "another type": ([item(mime_type="image/gif")], f"{BASE}[0].image.data.mime_type", "a PNG file"),
    "SVG": ([item(b"<svg/>", "image/svg+xml")], f"{BASE}[0].image.data.mime_type", "not read"),
    "far away": ([{"image": {"url": "https://example.com/a.png"}}], f"{BASE}[0].image.url", ""),
}


@pytest.mark.parametrize("method", CHAT_METHODS)
@pytest.mark.parametrize("case", BAD)
async def test_an_image_that_cannot_be_read_is_refused_by_its_path(server: Running, method: str, case: str) -> None:
    items, field, told = BAD[case]
    failure = await server.failure(method, request(method, **chat(user(*items))))
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert failure.fields == [field]
    assert told in failure.message
    assert READ == []


@pytest.mark.parametrize(
    ("messages", "field"),
    [
        ([{"system": {"content": content(item())}}, user("a")], "messages[0].system.content.items.items[0].image"),
        (
            [user("a"), {"assistant": {"content": content(item())}}],
            "messages[1].assistant.content.items.items[0].image",
        ),
        ([user("a", context=content(item()))], "messages[0].user.context.items.items[0].image"),
    ],
)
async def test_an_image_is_refused_where_none_is_read(server: Running, messages: list[Any], field: str) -> None:
    failure = await server.failure("ChatCompletion", request("ChatCompletion", **chat(*messages)))
    assert (failure.reason, failure.fields) == ("UNSUPPORTED_BY_MODEL", [field])


async def test_a_model_without_eyes_names_every_image() -> None:
    async with running(ScriptedLanguageEngine(LLM, FEW)) as server:
        asked = chat(user("a", item()), {"tool": {"call_id": "1", "content": content(item())}})
        failure: Failure = await server.failure("ChatCompletion", request("ChatCompletion", **asked))
        assert failure.reason == "UNSUPPORTED_BY_MODEL"
        assert failure.fields == [f"{BASE}[1].image", "messages[1].tool.content.items.items[0].image"]
        (model,) = await server.answers("GetModel", request("GetModel", model_id=LLM))
        limits = model.model.limits
        assert (limits.max_images, limits.max_image_bytes, limits.max_image_pixels) == (0, 0, 0)
