"""Images that a request carries itself, as bytes and as `data:` URLs."""

import base64
import os

import pytest
from prometheus_client import CollectorRegistry

from service.api.content import ImageBytes, ImageContentItem, ImageUrl
from service.errors import InvalidField
from service.images.loaded import LoadedImage
from service.images.sources import ImageSources
from service.settings.images import FetchSettings
from service.telemetry.metrics import ImageMetrics
from tests.images.hosts import all_loaded

FIELD = "messages[0].user.content.items.items[1].image"
LIMIT = 300_000
TOO_MANY = f"With it the images of the request have more than {LIMIT} bytes."
PICTURE = b"\x89PNG\r\n\x1a\n, or so"


def sources() -> ImageSources:
    return ImageSources(LIMIT, FetchSettings(), ImageMetrics(CollectorRegistry()))


def by_url(url: str) -> ImageContentItem:
    return ImageContentItem(source=ImageUrl(url=url))


def by_value(data: bytes, mime_type: str = "image/png") -> ImageContentItem:
    return ImageContentItem(source=ImageBytes(data=data, mime_type=mime_type))


def data_url(data: bytes, head: str = "data:image/png;base64,") -> str:
    return head + base64.b64encode(data).decode()


async def loaded(image: ImageContentItem) -> LoadedImage:
    [its] = await all_loaded(sources(), [(FIELD, image)])
    return its


async def refusal(image: ImageContentItem) -> tuple[str, str]:
    """The blamed field below that of the image, and what is told."""
    with pytest.raises(InvalidField) as caught:
        await loaded(image)
    [violation] = caught.value.violations
    assert violation.field.startswith(FIELD)
    return violation.field.removeprefix(f"{FIELD}."), violation.description


@pytest.mark.parametrize(
    ("told", "mime_type"),
    [("image/png", "image/png"), ("IMAGE/JPEG", "image/jpeg"), ("image/svg+xml; charset=utf-8", "image/svg+xml")],
)
async def test_bytes_are_taken_as_they_are(told: str, mime_type: str) -> None:
    assert await loaded(by_value(PICTURE, told)) == LoadedImage(PICTURE, mime_type)


@pytest.mark.parametrize(
    "head",
    ["data:image/png;base64,", "DATA:image/PNG;BASE64,", "data:image/png;name=a.png;base64,"],
)
async def test_a_data_url_holds_its_bytes(head: str) -> None:
    assert await loaded(by_url(data_url(PICTURE, head))) == LoadedImage(PICTURE, "image/png")


@pytest.mark.parametrize("size", [1, 2, 3, 49_151, 49_152, 49_153, 196_608, LIMIT - 1, LIMIT])
async def test_so_does_a_long_one(size: int) -> None:
    data = os.urandom(size)
    assert (await loaded(by_url(data_url(data)))).data == data


@pytest.mark.parametrize("mime_type", ["text/html", "image", "image/", "image/*", "png", "image/png\n", "image/pné"])
async def test_bytes_of_another_type_are_refused(mime_type: str) -> None:
    assert await refusal(by_value(PICTURE, mime_type)) == (
        "data.mime_type",
        "The MIME type is not that of an image, such as image/png or image/jpeg.",
    )


@pytest.mark.parametrize("image", [by_value(bytes(LIMIT + 1)), by_url(data_url(bytes(LIMIT + 1)))], ids=["data", "url"])
async def test_too_large_an_image_is_refused(image: ImageContentItem) -> None:
    field, told = await refusal(image)
    assert field in ("data.data", "url")
    assert told == TOO_MANY


async def test_one_far_too_large_is_not_decoded() -> None:
    # It could not be: it isn't base64.
    _, told = await refusal(by_url("data:image/png;base64," + "?" * 2 * LIMIT))
    assert told == TOO_MANY


LONG = data_url(os.urandom(250_000))


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("data:", "A data URL is written as"),
        ("data:image/png;base64", "A data URL is written as"),
        ("data:image/png;" + "a" * 300 + ";base64,AAAA", "A data URL is written as"),
        ("data:image/png,AAAA", "has to be in base64"),
        ("data:image/png;base64;name=a,AAAA", "has to be in base64"),
        ("data:;base64,AAAA", "is not that of an image"),
        ("data:text/html;base64,AAAA", "is not that of an image"),
        ("data:image/png;base64,", "The image is empty"),
        ("data:image/png;base64,AAA", "is not base64"),
        ("data:image/png;base64,AA=A", "is not base64"),
        ("data:image/png;base64,AAAA=", "is not base64"),
        ("data:image/png;base64,AAAA====", "is not base64"),
        ("data:image/png;base64,AA AA", "is not base64"),
        ("data:image/png;base64,AAAA\n", "is not base64"),
        ("data:image/png;base64,AA-_", "is not base64"),
        ("data:image/png;base64,AA%2B", "is not base64"),
        ("data:image/png;base64,AAA\u00e4", "is not base64"),
        ("data:image/png;base64,\U0001f600AAA", "is not base64"),
        (LONG.replace("base64,", "base64,AAA="), "is not base64"),
        (LONG[:65_556] + "==" + LONG[65_558:], "is not base64"),
        (LONG + "A", "is not base64"),
        (LONG[:-1] + "\n", "is not base64"),
    ],
    ids=range(22),
)
async def test_a_data_url_that_holds_no_image_is_refused(url: str, told: str) -> None:
    field, said = await refusal(by_url(url))
    assert field == "url"
    assert told in said


@pytest.mark.parametrize("url", ["https://example.com/cat.png", "HTTP://example.com"])
async def test_nothing_is_fetched(url: str) -> None:
    field, told = await refusal(by_url(url))
    assert (field, told.split(".")[0]) == ("url", "This server fetches no images")


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://example.com", "cat.png", " data:image/png;base64,AAAA"])
async def test_other_schemes_are_refused(url: str) -> None:
    assert await refusal(by_url(url)) == ("url", "An image's URL begins with `https:` or `data:`.")


async def test_the_images_of_a_request_come_in_their_order() -> None:
    first, second = by_value(b"1"), by_url(data_url(b"2"))
    loaded = await all_loaded(sources(), [("a", first), ("b", second), ("c", first)])
    assert [image.data for image in loaded] == [b"1", b"2", b"1"]


async def test_all_that_is_wrong_with_them_is_told() -> None:
    wrong = by_url("file:///etc/passwd")
    with pytest.raises(InvalidField) as caught:
        await all_loaded(
            sources(), [("a", by_value(b"1")), ("b", wrong), ("c", by_value(b"3", "text/html")), ("d", wrong)]
        )
    assert [violation.field for violation in caught.value.violations] == ["b.url", "c.data.mime_type"]
