"""Images for vLLM: its processor of the model turns them into tensors, and makes room for them in the prompt."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, NoReturn

from vllm.exceptions import VLLMClientError
from vllm.inputs.engine import mm_input, tokens_input
from vllm.model_executor.model_loader import get_model_cls
from vllm.v1.engine.async_llm import AsyncLLM

from service.engines.base import GenerationRequest
from service.errors import InvalidField, UnsupportedByModel
from service.images.decoding import Picture
from service.prompts.tokenizer import PreparedImages, Prompt

logger = logging.getLogger(__name__)

IMAGE = "image"
DIGEST_BYTES = 16


@dataclass(frozen=True, slots=True)
class VllmImages(PreparedImages):
    """Tensors by their names, the names of what they were made of, and where in the prompt they belong."""

    kwargs: Any
    hashes: Any
    placeholders: Any


class VllmImageReader:
    """What one engine does with images."""

    def __init__(self, engine: AsyncLLM) -> None:
        self._engine = engine
        processor = engine.renderer.mm_processor
        self.most_images: int = processor.info.allowed_mm_limits.get(IMAGE, 0) if processor else 0
        """In one request; 0 for a model that reads none."""
        self.placeholder = _placeholder(engine) if self.most_images else None
        """What stands for an image in the model's prompts, if that is always the same."""
        if processor:
            # Where it doesn't find the placeholders among the tokens, it looks in their text, and makes tokens of that
            # anew: also control tokens, of what a caller wrote.
            processor._apply_prompt_updates_via_text = _refuse

    @property
    def chat_template(self) -> str | None:
        """The processor's, which some models have instead of one of their tokenizer."""
        found: str | None = getattr(
            self._engine.renderer.get_mm_processor().info.get_hf_processor(), "chat_template", None
        )
        return found

    async def prepared(self, prompt: Prompt, pictures: Sequence[Picture], cache_owner: str) -> Prompt:
        """The prompt, with as many tokens for each image as the model reads of it. The work is done in a thread."""
        asked = {
            "prompt_token_ids": prompt.token_ids,
            "multi_modal_data": {IMAGE: [picture.pixels for picture in pictures]},
            # The engine keeps what it computed of an image, and knows it again by this.
            "multi_modal_uuids": {IMAGE: [_name(picture, cache_owner) for picture in pictures]},
        }
        try:
            # Without the cache that leaves out what the engine has already: it counts on every prompt to get there.
            done: Any = await self._engine.renderer.process_for_engine_async(asked, time.time(), skip_mm_cache=True)
        except _PlaceNotFound:
            raise UnsupportedByModel(
                pictures[0].field, "The model's prompts have no place for as many images there."
            ) from None
        except (VLLMClientError, ValueError, ArithmeticError) as error:
            # The processors of models check little: an image that is one pixel high may become none.
            logger.warning("The model's processor failed on images", exc_info=error)
            raise InvalidField(_field_of_all(pictures), "The model can't read an image of this shape.") from error
        self._check_sizes(pictures, done["mm_placeholders"][IMAGE])
        images = VllmImages(done["mm_kwargs"], done["mm_hashes"], done["mm_placeholders"])
        return replace(prompt, token_ids=done["prompt_token_ids"], images=images)

    def _check_sizes(self, pictures: Sequence[Picture], places: Sequence[Any]) -> None:
        most = self._engine.input_processor.mm_encoder_cache_size
        for picture, place in zip(pictures, places, strict=True):
            if (tokens := place.get_num_embeds()) > most:
                raise InvalidField(picture.field, f"The model reads it as {tokens} tokens; its engine takes {most}.")


def engine_input(request: GenerationRequest) -> Any:
    """The prompt as vLLM takes it."""
    prompt, salt = request.prompt, request.cache_owner or None
    if not isinstance(prompt.images, VllmImages):
        return tokens_input(prompt.token_ids, prompt=prompt.text, cache_salt=salt)
    images = prompt.images
    return mm_input(
        prompt.token_ids, images.kwargs, images.hashes, images.placeholders, prompt=prompt.text, cache_salt=salt
    )


class _PlaceNotFound(Exception):
    pass


def _refuse(*arguments: object, **options: object) -> NoReturn:
    raise _PlaceNotFound


def _placeholder(engine: AsyncLLM) -> str | None:
    model = get_model_cls(engine.model_config)
    first, second = (model.get_placeholder_str(IMAGE, number) for number in (1, 2))
    return first if first == second else None


def _name(picture: Picture, cache_owner: str) -> str:
    """Of what the engine keeps of an image; another one for each caller, who shall not learn what others have shown."""
    return blake2b(picture.digest, digest_size=DIGEST_BYTES, key=_key(cache_owner)).hexdigest()


def _key(cache_owner: str) -> bytes:
    return blake2b(cache_owner.encode()).digest()


def _field_of_all(pictures: Sequence[Picture]) -> str:
    first = pictures[0].field
    return first if len(pictures) == 1 else first.partition(".")[0].partition("[")[0]
