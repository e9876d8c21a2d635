"""Images as pixels: what is read, and what is refused, from its header where that is enough."""

import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from service.api.content import ImageBytes, ImageContentItem, ImageUrl
from service.api.models import ModelLimits
from service.errors import InvalidField
from service.images.decoding import EncodedImage, Picture, decoded
from service.images.loaded import LoadedImage

FIELD = "messages[0].user.content.items.items[1].image"
LIMITS = ModelLimits(max_images=4, max_image_bytes=10**6, max_image_pixels=10_000)
RED, WHITE = (255, 0, 0), (255, 255, 255)


def file_of(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def red(mode: str = "RGB", size: tuple[int, int] = (8, 6)) -> Image.Image:
    return Image.new("RGB", size, RED).convert(mode)


def encoded(data: bytes, mime_type: str | None = None, field: str = FIELD) -> EncodedImage:
    item = ImageContentItem(source=ImageBytes(data=data, mime_type=mime_type or "image/png"))
    return EncodedImage(field, item, LoadedImage(data, mime_type))


def picture(data: bytes, mime_type: str | None = None) -> Picture:
    [found] = decoded([encoded(data, mime_type)], LIMITS)
    return found


def refusal(*images: EncodedImage) -> list[tuple[str, str]]:
    """The blamed fields below that of the image, and what is told of each."""
    with pytest.raises(InvalidField) as caught:
        decoded(images, LIMITS)
    return [(v.field.removeprefix(f"{FIELD}."), v.description) for v in caught.value.violations]


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of_size(width: int, height: int) -> bytes:
    """Honest but for its size: it unpacks to a few bytes."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(64))) + chunk(b"IEND", b"")
    )


def gif_of_size(width: int, height: int) -> bytes:
    return file_of(red(), "GIF")[:6] + struct.pack("<HH", width, height) + file_of(red(), "GIF")[10:]


def webp_of_size(width: int, height: int) -> bytes:
    bits = (width - 1) | (height - 1) << 14
    data = b"VP8L" + struct.pack("<I", 5) + b"\x2f" + struct.pack("<I", bits) + b"\0"
    return b"RIFF" + struct.pack("<I", 4 + len(data)) + b"WEBP" + data


@pytest.mark.parametrize(
    ("kind", "mime_type"), [("PNG", "image/png"), ("JPEG", "image/jpeg"), ("WEBP", "image/webp"), ("GIF", "image/gif")]
)
def test_each_format_is_read(kind: str, mime_type: str) -> None:
    data = file_of(red(), kind)
    for told in (mime_type, None):
        found = picture(data, told)
        assert (found.field, found.pixels.mode, found.pixels.size) == (FIELD, "RGB", (8, 6))
        assert all(abs(a - b) < 4 for a, b in zip(found.pixels.getpixel((3, 3)), RED, strict=True))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_so_is_each_kind_of_pixel(mode: str) -> None:
    image = Image.new("I;16", (8, 6), 300 * 128) if mode == "I;16" else red("RGB").convert("L").convert(mode)
    if mode in ("P", "RGBA"):
        image = red(mode)
    found = picture(file_of(image))
    assert found.pixels.mode == "RGB"
    if mode == "I;16":
        assert found.pixels.getpixel((0, 0)) == (150, 150, 150)


def test_a_picture_of_a_press_is_read() -> None:
    assert picture(file_of(red("CMYK"), "JPEG")).pixels.mode == "RGB"


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_transparent_is_white(mode: str) -> None:
    image = Image.new("RGBA", (2, 1), (0, 0, 0, 0)).convert(mode)
    assert picture(file_of(image)).pixels.getpixel((0, 0)) == WHITE
    palette = Image.new("P", (2, 1))
    assert picture(file_of(palette, transparency=0)).pixels.getpixel((0, 0)) == WHITE


def test_a_camera_that_was_held_sideways_is_no_matter() -> None:
    image = Image.new("RGB", (8, 6), WHITE)
    image.paste(RED, (0, 0, 8, 1))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    found = picture(file_of(image, exif=exif)).pixels
    assert found.size == (6, 8)
    assert [found.getpixel(corner) for corner in ((5, 0), (5, 7), (0, 0))] == [RED, RED, WHITE]


def test_the_same_file_has_the_same_digest() -> None:
    first, second, other = (picture(file_of(red(size=(8, width)))).digest for width in (6, 6, 7))
    assert first == second != other


@pytest.mark.parametrize("make", [png_of_size, gif_of_size, webp_of_size], ids=["png", "gif", "webp"])
@pytest.mark.parametrize("size", [(101, 100), (10_001, 1), (16_000, 16_000)])
def test_too_many_pixels_are_refused_by_the_header(
    make: Callable[[int, int], bytes], size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.images.decoding._unpacked", lambda *_: pytest.fail("it was unpacked"))
    assert refusal(encoded(make(*size))) == [("data.data", "The image has too many pixels; the limit is 10000.")]


def test_so_is_what_no_machine_could_hold() -> None:
    assert refusal(encoded(png_of_size(2**31 - 1, 2**31 - 1)))[0][0] == "data.data"


def test_the_images_of_a_request_share_the_limit() -> None:
    half = file_of(red(size=(80, 63)))
    assert len(decoded([encoded(half)], LIMITS)) == 1
    assert refusal(encoded(half, field="a"), encoded(half, field=FIELD)) == [
        ("data.data", "With it the images of the request have 10080 pixels; the limit is 10000.")
    ]


def cut(data: bytes) -> bytes:
    return data[: len(data) * 2 // 3]


NOISE = Image.effect_noise((64, 64), 90)
DAMAGED = "The image is damaged or cut off."
UNKNOWN = "It is no image of a kind that is read: PNG, JPEG, WebP and GIF."


@pytest.mark.parametrize(
    ("data", "told"),
    [
        *((cut(file_of(NOISE, kind)), None) for kind in ("PNG", "JPEG", "WEBP", "GIF")),
        (png_of_size(64, 64), DAMAGED),
        (b"\x89PNG\r\n\x1a\n", None),
        (file_of(red())[:30], None),
        (file_of(red()).replace(b"IHDR", b"IHDS"), None),
        (b"\xff\xd8\xff\xe0" + bytes(100), None),
        (b"RIFF\x10\0\0\0WEBPVP8 ", None),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', UNKNOWN),
        (b"%PDF-1.7", UNKNOWN),
        (b"Hello?", UNKNOWN),
        (file_of(red(), "BMP"), UNKNOWN),
        (file_of(red(), "TIFF"), UNKNOWN),
        (file_of(red(), "ICO"), UNKNOWN),
        (file_of(red(), "PPM"), UNKNOWN),
        (file_of(red(), "EPS"), UNKNOWN),
    ],
    ids=range(18),
)
def test_what_is_no_whole_image_is_refused(data: bytes, told: str | None) -> None:
    [(field, said)] = refusal(encoded(data))
    assert field == "data.data"
    assert said == told or (told is None and said in (DAMAGED, UNKNOWN))


PNG, JPEG, GIF = (file_of(red(), kind) for kind in ("PNG", "JPEG", "GIF"))
EMPTY_CHUNK = chunk(b"prVt", b"")


@pytest.mark.parametrize(
    "data",
    [
        PNG[:33] + EMPTY_CHUNK * 300_000 + PNG[33:],
        PNG[:-12] + EMPTY_CHUNK * 300_000 + PNG[-12:],
        JPEG[:2] + b"\xff\xfe\x00\x02" * 300_000 + JPEG[2:],
        GIF.replace(b"\x2c", b"\x21\xfe\x01a\x00" * 300_000 + b"\x2c", 1),
    ],
    ids=["png", "png, at its end", "jpeg", "gif"],
)
def test_a_file_of_countless_pieces_is_given_up(data: bytes) -> None:
    assert refusal(encoded(data)) == [("data.data", "The image is in too many pieces.")]


@pytest.mark.parametrize("kind", ["PNG", "GIF", "JPEG"])
def test_a_large_file_has_fewer(kind: str) -> None:
    limits = LIMITS.model_copy(update={"max_image_pixels": 10_000_000})
    data = file_of(Image.effect_noise((2500, 2500), 90), kind)
    [found] = decoded([encoded(data)], limits)
    assert found.pixels.size == (2500, 2500)


@pytest.mark.parametrize("mime_type", ["image/svg+xml", "image/avif", "image/tiff", "image/x-icon"])
def test_other_formats_are_refused_by_their_name(mime_type: str) -> None:
    told = f"Images of {mime_type} are not read, only PNG, JPEG, WebP and GIF."
    assert refusal(encoded(file_of(red()), mime_type)) == [("data.mime_type", told)]


def test_a_file_that_is_something_else_than_its_sender_says_is_refused() -> None:
    assert refusal(encoded(file_of(red()), "image/jpeg")) == [
        ("data.mime_type", "It says image/jpeg, and the image is a PNG file.")
    ]


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_an_animated_image_is_refused(kind: str) -> None:
    frames = [Image.new("RGB", (8, 6), color) for color in ("red", "blue", "green")]
    data = file_of(frames[0], kind, save_all=True, append_images=frames[1:])
    assert refusal(encoded(data)) == [("data.data", "The image is animated. Send one of its frames.")]


def test_all_images_that_are_wrong_are_told() -> None:
    good, bad = encoded(file_of(red()), field="a"), encoded(b"?", field="b")
    by_url = EncodedImage("c", ImageContentItem(source=ImageUrl(url="data:")), LoadedImage(b"?", "image/heic"))
    assert [field for field, _ in refusal(good, bad, by_url)] == ["b.data.data", "c.url"]
