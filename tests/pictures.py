"""Image files for tests, and contents that hold them."""

from io import BytesIO
from typing import Any

from PIL import Image


def picture(color: str = "red", size: tuple[int, int] = (40, 30), kind: str = "PNG") -> bytes:
    """The bytes of a file."""
    file = BytesIO()
    Image.new("RGB", size, color).save(file, kind)
    return file.getvalue()


def item(data: bytes | None = None, mime_type: str = "image/png") -> dict[str, Any]:
    """An item of a content, as a message of protobuf takes it."""
    return {"image": {"data": {"data": picture() if data is None else data, "mime_type": mime_type}}}


def content(*items: str | dict[str, Any]) -> dict[str, Any]:
    """Text and images."""
    return {"items": {"items": [{"text": each} if isinstance(each, str) else each for each in items]}}
