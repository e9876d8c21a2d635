"""The images of a request, from where they come to what an engine reads in the place of each."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from service.api.models import ModelLimits
from service.engines.base import LanguageEngine
from service.errors import Findings, InvalidField, UnsupportedByModel
from service.images.decoding import EncodedImage, decoded
from service.images.sources import ImageSources
from service.prompts.conversation import PlacedImage
from service.prompts.tokenizer import Prompt

# Unpacked images take memory, some hundred megabytes for a request at its limit.
UNPACKED_AT_ONCE = 2


class Images:
    """Prepares the images of a few requests at a time; the others wait in their order."""

    def __init__(self, sources: ImageSources) -> None:
        self._sources = sources
        self._places = asyncio.Semaphore(UNPACKED_AT_ONCE)
        # Of their own: a cancelled call leaves its thread behind, and others shall find theirs.
        self._threads = ThreadPoolExecutor(UNPACKED_AT_ONCE, thread_name_prefix="images")

    def for_caller(self, identity: str) -> "CallersImages":
        return CallersImages(self, identity)

    async def prepared(
        self, engine: LanguageEngine, prompt: Prompt, placed: Sequence[PlacedImage], caller: str
    ) -> Prompt:
        """The prompt with its images in place. Raises RequestErrors that name fields of images, and Overloaded."""
        limits = engine.model.limits
        _check_number(placed, limits)
        async with self._sources.loaded([(image.field, image.item) for image in placed], caller) as loaded:
            images = [EncodedImage(image.field, image.item, its) for image, its in zip(placed, loaded, strict=True)]
            _check_bytes(images, limits)
            async with self._places:
                pictures = await asyncio.get_running_loop().run_in_executor(self._threads, decoded, images, limits)
                return await engine.with_images(prompt, pictures, caller)


@dataclass(frozen=True, slots=True)
class CallersImages:
    """The same for one caller, whose images nobody else's answers tell of."""

    images: Images
    identity: str

    async def prepared(self, engine: LanguageEngine, prompt: Prompt, placed: Sequence[PlacedImage]) -> Prompt:
        return await self.images.prepared(engine, prompt, placed, self.identity)


def check_images(engine: LanguageEngine, placed: Sequence[PlacedImage]) -> None:
    """Raises UnsupportedByModel for a model that reads none."""
    if engine.model.capabilities.images:
        return
    findings = Findings()
    for image in placed:
        with findings.noting():
            raise UnsupportedByModel(image.field, "The model doesn't read images.")
    findings.raise_all()


def _check_number(placed: Sequence[PlacedImage], limits: ModelLimits) -> None:
    if len(placed) > limits.max_images:
        raise InvalidField(
            placed[limits.max_images].field,
            f"The request has {len(placed)} images; the limit is {limits.max_images}.",
        )


def _check_bytes(images: Sequence[EncodedImage], limits: ModelLimits) -> None:
    size = 0
    for image in images:
        size += len(image.loaded.data)
        if size > limits.max_image_bytes:
            raise InvalidField(
                image.content_field,
                f"With it the images of the request have {size} bytes; the limit is {limits.max_image_bytes}.",
            )
