"""Where images come from: the request itself, as bytes or as a `data:` URL; or a host that the operator allows."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import assert_never

from service.api.content import ImageBytes, ImageContentItem, ImageUrl
from service.errors import Findings, InferwireError, InvalidField
from service.images.data_urls import SCHEME as DATA
from service.images.data_urls import image_of_data_url
from service.images.fetching import Fetcher, NotFetched
from service.images.loaded import ByteBudget, LoadedImage, image_type
from service.images.network import Network
from service.images.remote_urls import LONGEST, USUAL_PORTS
from service.settings.images import FetchSettings
from service.telemetry.metrics import ImageMetrics

LONGEST_SCHEME = len("https:")
FETCHES_NOTHING = "This server fetches no images. Send the image itself: as `data`, or as a data URL."


class ImageSources:
    """Loads images, within the operator's limits."""

    def __init__(
        self, max_bytes: int, fetch: FetchSettings, metrics: ImageMetrics, network: Network | None = None
    ) -> None:
        """`max_bytes` are those of all images of a request together."""
        self._max_bytes = max_bytes
        self._fetcher = Fetcher(fetch, max_bytes, metrics, network or Network()) if fetch.allowed_hosts else None

    @asynccontextmanager
    async def loaded(
        self, images: Sequence[tuple[str, ImageContentItem]], caller: str
    ) -> AsyncIterator[list[LoadedImage]]:
        """The images of one request, each with the path of its field: at the same time, and the same URL only once.

        They are to be dropped at the end: of what is fetched, the server holds only so much. Raises InvalidField, which
        tells of all that is wrong, and Overloaded when too much is being fetched already.
        """
        budget = ByteBudget(self._max_bytes)
        try:
            yield await self._load_all(images, caller, budget)
        finally:
            if self._fetcher:
                self._fetcher.release(budget)

    async def _load_all(
        self, images: Sequence[tuple[str, ImageContentItem]], caller: str, budget: ByteBudget
    ) -> list[LoadedImage]:
        keys = [_key(image, position) for position, (_, image) in enumerate(images)]
        loading: dict[str | int, asyncio.Task[LoadedImage | InferwireError]] = {}
        async with asyncio.TaskGroup() as group:
            for key, (field, image) in zip(keys, images, strict=True):
                if key not in loading:
                    loading[key] = group.create_task(self._tried(image, field, caller, budget))
        findings = Findings()
        loaded = {}
        for key, task in loading.items():
            with findings.noting():
                loaded[key] = _whole(task.result())
        findings.raise_all()
        return [loaded[key] for key in keys]

    def close(self) -> None:
        if self._fetcher:
            self._fetcher.close()

    async def _tried(
        self, image: ImageContentItem, field: str, caller: str, budget: ByteBudget
    ) -> LoadedImage | InferwireError:
        """What is wrong with one image doesn't keep the others from being looked at."""
        try:
            return await self._load(image, field, caller, budget)
        except InferwireError as error:
            return error

    async def _load(self, image: ImageContentItem, field: str, caller: str, budget: ByteBudget) -> LoadedImage:
        match image.source:
            case ImageBytes(data=data, mime_type=mime_type):
                loaded = LoadedImage(data, image_type(mime_type, f"{field}.data.mime_type"))
                if not budget.take(len(data)):
                    raise InvalidField(f"{field}.data.data", budget.exceeded)
            case ImageUrl(url=url):
                loaded = await self._of_url(url, f"{field}.url", caller, budget)
                if not loaded.data:
                    raise InvalidField(f"{field}.url", "The image is empty.")
            case _:
                assert_never(image.source)
        return loaded

    async def _of_url(self, url: str, field: str, caller: str, budget: ByteBudget) -> LoadedImage:
        scheme = url[:LONGEST_SCHEME].partition(":")[0].lower()
        if f"{scheme}:" == DATA:
            return await image_of_data_url(url, field, budget)
        if scheme not in USUAL_PORTS:
            raise InvalidField(field, "An image's URL begins with `https:` or `data:`.")
        if self._fetcher is None:
            raise InvalidField(field, FETCHES_NOTHING)
        try:
            return await self._fetcher.fetch(url, caller, budget)
        except NotFetched as failure:
            raise InvalidField(field, str(failure)) from None


def _key(image: ImageContentItem, position: int) -> str | int:
    """The same for the same image elsewhere. To compare those that are here would take longer than to load them."""
    url = image.source.url if isinstance(image.source, ImageUrl) else ""
    return url if url and len(url) <= LONGEST else position


def _whole(result: LoadedImage | InferwireError) -> LoadedImage:
    if isinstance(result, InferwireError):
        raise result
    return result
