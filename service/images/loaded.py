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


class ByteBudget:
    """The bytes that the images of one request may have together."""

    def __init__(self, most: int) -> None:
        self._most = self._left = most
        self.fetched = 0
        """Those among them that the server holds only because it has fetched them."""

    @property
    def exceeded(self) -> str:
        """What is told of the image for which it isn't enough."""
        return f"With it the images of the request have more than {self._most} bytes."

    def has(self, size: int) -> bool:
        return size <= self._left

    def take(self, size: int) -> bool:
        """Whether there was enough."""
        self._left -= size
        return self._left >= 0
