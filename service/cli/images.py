"""Images for a model to see: files and URLs."""

from mimetypes import guess_type
from pathlib import Path

import rich_click as click

from service.api.content import ImageBytes, ImageContentItem, ImageUrl, InterleavedContent, TextContentItem

URLS = ("https://", "data:")


def image_from(source: str) -> ImageContentItem:
    """Raises UsageError for what is no image file."""
    if source.startswith(URLS):
        return ImageContentItem(source=ImageUrl(url=source))
    kind = guess_type(source)[0] or ""
    if not kind.startswith("image/"):
        raise click.UsageError(f"{source} has no ending of an image file, such as .png or .jpg.")
    try:
        data = Path(source).expanduser().read_bytes()
    except OSError as error:
        raise click.UsageError(f"Can't read {source}: {error.strerror}.") from None
    if not data:
        raise click.UsageError(f"{source} is empty.")
    return ImageContentItem(source=ImageBytes(data=data, mime_type=kind))


def with_images(text: str, images: list[ImageContentItem]) -> InterleavedContent:
    """The images first, as models are trained on them."""
    return (*images, TextContentItem(text=text)) if images else text
