"""An image as it came: encoded, and of whatever type its sender says."""

import re
from dataclasses import dataclass

from service.errors import InvalidField

MIME_TYPE = re.compile(r"image/[a-z0-9][a-z0-9.+-]{0,126}")


@dataclass(frozen=True, slots=True)
class LoadedImage:
    """`mime_type` is what the source says, without parameters and in lower case; None where it doesn't."""

    data: bytes
    mime_type: str | None


def image_type(text: str, field: str) -> str:
    """The MIME type of an image, as LoadedImage has it. Raises InvalidField for that of anything else."""
    essence = text.partition(";")[0].strip(" ").lower()
    if not MIME_TYPE.fullmatch(essence):
        raise InvalidField(field, "The MIME type is not that of an image, such as image/png or image/jpeg.")
    return essence


def check_size(image: LoadedImage, field: str, max_bytes: int) -> None:
    """Raises InvalidField for an empty image and for one that is too large."""
    if not image.data:
        raise InvalidField(field, "The image is empty.")
    if len(image.data) > max_bytes:
        raise InvalidField(field, f"The image has {len(image.data)} bytes; the limit is {max_bytes}.")
