"""Hostile files are refused, as bytes, in `data:` URLs and fetched, before they are unpacked."""

import base64
import tracemalloc

import pytest

from service.api.content import ImageBytes, ImageContentItem, ImageUrl
from service.api.models import ModelLimits
from service.errors import InvalidField
from service.images.decoding import EncodedImage, decoded
from tests.images.hostile_files import HOSTILE_FILES, HostileFile
from tests.images.hosts import Outside, plain
from tests.pictures import picture

FIELD = "messages[0].user.content.items.items[0].image"
LIMITS = ModelLimits(max_images=4, max_image_bytes=200_000, max_image_pixels=32_000_000)
MIB = 1024 * 1024


async def pixels_of(outside: Outside, item: ImageContentItem) -> None:
    async with outside.sources(max_bytes=LIMITS.max_image_bytes).loaded([(FIELD, item)], "me") as [loaded]:
        decoded([EncodedImage(FIELD, item, loaded)], LIMITS)


def ways(outside: Outside, data: bytes, mime_type: str) -> list[tuple[ImageContentItem, int]]:
    """Of sending a file, each with the connections that it takes."""
    outside.host.answers = {"/file": plain(data, mime_type=mime_type)}
    in_url = f"data:{mime_type};base64,{base64.b64encode(data).decode()}"
    return [
        (ImageContentItem(source=ImageBytes(data=data, mime_type=mime_type)), 0),
        (ImageContentItem(source=ImageUrl(url=in_url)), 0),
        (ImageContentItem(source=ImageUrl(url=outside.url("/file"))), 1),
    ]


@pytest.mark.parametrize("file", HOSTILE_FILES, ids=lambda file: file.name)
async def test_it_is_refused_however_it_comes(outside: Outside, file: HostileFile) -> None:
    for item, connections in ways(outside, file.data, file.mime_type):
        outside.host.connections = 0
        tracemalloc.start()
        with pytest.raises(InvalidField) as caught:
            await pixels_of(outside, item)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        [violation] = caught.value.violations
        assert violation.field.startswith(FIELD)
        assert violation.description.startswith(file.told)
        assert (outside.host.connections, outside.inside.connections) == (connections, 0)
        # Far less than any of them would take unpacked.
        assert most < 16 * MIB


async def test_an_image_is_not(outside: Outside) -> None:
    for kind in ("PNG", "JPEG", "GIF", "WEBP"):
        for item, _ in ways(outside, picture(kind=kind), f"image/{kind.lower()}"):
            await pixels_of(outside, item)
