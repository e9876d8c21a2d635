"""From the bytes of an image to its pixels: nothing is unpacked before its header was found to be within bounds."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from io import BytesIO

from PIL import Image, ImageOps, UnidentifiedImageError

from service.api.content import ImageBytes, ImageContentItem
from service.api.models import ModelLimits
from service.errors import Findings, InvalidField
from service.images.loaded import LoadedImage

# What Pillow calls them. A multi-picture file of a camera is a JPEG with more behind it, which is left out.
MIME_TYPES = {
    "PNG": {"image/png"},
    "JPEG": {"image/jpeg", "image/jpg"},
    "MPO": {"image/jpeg", "image/jpg"},
    "WEBP": {"image/webp"},
    "GIF": {"image/gif"},
}
FORMATS = tuple(name for name in MIME_TYPES if name != "MPO")
TAKEN = "PNG, JPEG, WebP and GIF"
KNOWN_TYPES = frozenset().union(*MIME_TYPES.values())
DIGEST_BYTES = 16
WHITE = (255, 255, 255, 255)
# Pillow reads the pieces of a file in Python: ten megabytes of empty ones would take it seconds. Of honest files GIF
# has the most, of 255 bytes each.
MOST_READS = 200_000


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """An image of a request as it came; `field` is the path of its field, `item` what stands there."""

    field: str
    item: ImageContentItem
    loaded: LoadedImage

    @property
    def content_field(self) -> str:
        return f"{self.field}.data.data" if isinstance(self.item.source, ImageBytes) else f"{self.field}.url"

    @property
    def type_field(self) -> str:
        return f"{self.field}.data.mime_type" if isinstance(self.item.source, ImageBytes) else f"{self.field}.url"


@dataclass(frozen=True, slots=True)
class Picture:
    """Pixels, in RGB; `digest` is that of the file, and says whether two are the same."""

    field: str
    pixels: Image.Image
    digest: bytes


class _TooManyPieces(Exception):
    pass


class _File(BytesIO):
    """A file that isn't read for longer than an honest one has to be."""

    reads = 0

    def read(self, size: int | None = -1) -> bytes:
        self.reads += 1
        if self.reads > MOST_READS:
            raise _TooManyPieces
        return super().read(size)


def decoded(images: Sequence[EncodedImage], limits: ModelLimits) -> list[Picture]:
    """The pictures, in their order. Takes up to a second: for a thread.

    Raises InvalidField, which tells of all images that are wrong.
    """
    findings = Findings()
    opened = []
    for image in images:
        with findings.noting():
            opened.append((image, _opened(image, limits.max_image_pixels)))
    findings.raise_all()
    _check_pixels(opened, limits.max_image_pixels)
    pictures = []
    for image, file in opened:
        with findings.noting():
            pictures.append(_unpacked(image, file))
    findings.raise_all()
    return pictures


def _opened(image: EncodedImage, max_pixels: int) -> Image.Image:
    """The image with its header read. Raises InvalidField."""
    if image.loaded.mime_type is not None and image.loaded.mime_type not in KNOWN_TYPES:
        raise InvalidField(image.type_field, f"Images of {image.loaded.mime_type} are not read, only {TAKEN}.")
    try:
        with _complaints_about(image):
            file = Image.open(_File(image.loaded.data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_many_pixels(image, max_pixels) from None
    _check_format(image, file)
    if file.width * file.height > max_pixels:
        raise _too_many_pixels(image, max_pixels)
    return file


def _check_format(image: EncodedImage, file: Image.Image) -> None:
    told = image.loaded.mime_type
    if told is not None and told not in MIME_TYPES[file.format or ""]:
        raise InvalidField(image.type_field, f"It says {told}, and the image is a {file.format} file.")
    with _complaints_about(image):
        is_animated = file.format != "MPO" and getattr(file, "is_animated", False)
    if is_animated:
        raise InvalidField(image.content_field, "The image is animated. Send one of its frames.")


def _check_pixels(opened: Sequence[tuple[EncodedImage, Image.Image]], most: int) -> None:
    pixels = 0
    for image, file in opened:
        pixels += file.width * file.height
        if pixels > most:
            raise InvalidField(
                image.content_field, f"With it the images of the request have {pixels} pixels; the limit is {most}."
            )


def _too_many_pixels(image: EncodedImage, most: int) -> InvalidField:
    return InvalidField(image.content_field, f"The image has too many pixels; the limit is {most}.")


def _unpacked(image: EncodedImage, file: Image.Image) -> Picture:
    with _complaints_about(image), file:
        file.load()
        pixels = _in_rgb(ImageOps.exif_transpose(file))
    return Picture(image.field, pixels, blake2b(image.loaded.data, digest_size=DIGEST_BYTES).digest())


def _in_rgb(image: Image.Image) -> Image.Image:
    """On white, where it is transparent."""
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, WHITE), image).convert("RGB")
    if image.mode.startswith("I"):
        # Grey in 16 bits, of which a conversion would cut the upper ones off.
        image = image.convert("I").point(lambda value: value / 256).convert("L")
    return image.convert("RGB")


@contextmanager
def _complaints_about(image: EncodedImage) -> Iterator[None]:
    """Whatever the decoder meets in bytes of a stranger is wrong with them."""
    try:
        yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning, MemoryError):
        raise
    except _TooManyPieces:
        raise InvalidField(image.content_field, "The image is in too many pieces.") from None
    except UnidentifiedImageError as error:
        raise InvalidField(image.content_field, f"It is no image of a kind that is read: {TAKEN}.") from error
    except Exception as error:
        raise InvalidField(image.content_field, "The image is damaged or cut off.") from error
