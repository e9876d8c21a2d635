"""What a model and this server accept, as GetModel tells it."""

from service.api.chat import MAX_TOOLS
from service.api.models import ModelLimits
from service.api.sampling import MAX_LOGIT_BIASES, MAX_STOP_STRINGS, MAX_STOP_TOKEN_IDS
from service.engines.base import NO_ADAPTERS, AdapterHost
from service.settings import LimitSettings


def language_limits(
    settings: LimitSettings,
    context_length: int,
    max_logprobs: int,
    *,
    images: int = 0,
    adapters: AdapterHost = NO_ADAPTERS,
) -> ModelLimits:
    """`images` is how many the model takes in one request."""
    return ModelLimits(
        context_length=context_length,
        max_request_bytes=settings.max_request_bytes,
        max_elements=settings.max_elements,
        max_logprobs=max_logprobs,
        max_messages=settings.max_messages,
        max_constraint_bytes=settings.max_constraint_bytes,
        max_tools=MAX_TOOLS,
        max_stop_strings=MAX_STOP_STRINGS,
        max_stop_token_ids=MAX_STOP_TOKEN_IDS,
        max_logit_biases=MAX_LOGIT_BIASES,
        max_tokenized_tokens=settings.max_tokenized_tokens,
        max_images=min(images, settings.max_images),
        max_image_bytes=settings.max_image_bytes if images else 0,
        max_image_pixels=settings.max_image_pixels if images else 0,
        max_adapters=adapters.most,
        max_lora_rank=adapters.rank,
    )


def embedding_limits(settings: LimitSettings, context_length: int) -> ModelLimits:
    return ModelLimits(
        context_length=context_length,
        max_request_bytes=settings.max_request_bytes,
        max_elements=settings.max_elements,
        max_contents=settings.max_contents,
        max_documents=settings.max_documents,
        max_tokenized_tokens=settings.max_tokenized_tokens,
    )


def scoring_limits(settings: LimitSettings, context_length: int) -> ModelLimits:
    return ModelLimits(
        context_length=context_length,
        max_request_bytes=settings.max_request_bytes,
        max_elements=settings.max_elements,
        max_documents=settings.max_documents,
        max_tokenized_tokens=settings.max_tokenized_tokens,
    )
