"""Where images come from: the request itself, as bytes or as a `data:` URL."""

import asyncio
from collections.abc import Sequence
from typing import assert_never

from service.api.content import ImageBytes, ImageContentItem, ImageUrl
from service.errors import Findings, InvalidField, RequestError
from service.images.data_urls import SCHEME as DATA
from service.images.data_urls import image_of_data_url
from service.images.loaded import LoadedImage, check_size, image_type
from service.settings.images import ImageSettings


class ImageSources:
    """Loads images, within the operator's limits."""

    def __init__(self, settings: ImageSettings) -> None:
        self._settings = settings

    async def load_all(self, images: Sequence[tuple[str, ImageContentItem]]) -> list[LoadedImage]:
        """The images of one request, each with the path of its field: at the same time, and equal ones only once.

        Raises InvalidField, which tells of all that is wrong.
        """
        fields: dict[ImageContentItem, str] = {}
        for field, image in images:
            fields.setdefault(image, field)
        async with asyncio.TaskGroup() as group:
            loading = {image: group.create_task(self._tried(image, field)) for image, field in fields.items()}
        findings = Findings()
        loaded = {}
        for image, task in loading.items():
            with findings.noting():
                loaded[image] = _whole(task.result())
        findings.raise_all()
        return [loaded[image] for _, image in images]

    async def load(self, image: ImageContentItem, field: str) -> LoadedImage:
        """`field` is the path of the image's field in the request. Raises InvalidField."""
        match image.source:
            case ImageBytes(data=data, mime_type=mime_type):
                loaded = LoadedImage(data, image_type(mime_type, f"{field}.data.mime_type"))
                check_size(loaded, f"{field}.data.data", self._settings.max_bytes)
            case ImageUrl(url=url):
                loaded = await self._of_url(url, f"{field}.url")
                check_size(loaded, f"{field}.url", self._settings.max_bytes)
            case _:
                assert_never(image.source)
        return loaded

    async def _of_url(self, url: str, field: str) -> LoadedImage:
        scheme = url[:16].partition(":")[0].lower()
        if f"{scheme}:" == DATA:
            return await image_of_data_url(url, field, self._settings.max_bytes)
        if scheme in ("https", "http"):
            raise InvalidField(field, "This server fetches no images. Send the image itself: as `data`, or a data URL.")
        raise InvalidField(field, "An image's URL begins with `https:` or `data:`.")

    async def _tried(self, image: ImageContentItem, field: str) -> LoadedImage | RequestError:
        """What is wrong with one image doesn't keep the others from being looked at."""
        try:
            return await self.load(image, field)
        except RequestError as error:
            return error


def _whole(result: LoadedImage | RequestError) -> LoadedImage:
    if isinstance(result, RequestError):
        raise result
    return result
