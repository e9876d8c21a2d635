"""Models, their capabilities and limits."""

from typing import assert_never

from inferwire.v1 import models_pb2 as pb
from service.api.models import (
    Bf16QuantizationConfig,
    Fp8QuantizationConfig,
    Int4QuantizationConfig,
    Int8QuantizationConfig,
    Model,
    ModelCapabilities,
    ModelLimits,
    ModelState,
    ModelType,
    OtherQuantizationConfig,
    QuantizationConfig,
    Registration,
)
from service.errors import FeatureNotImplemented, InvalidField
from service.wire.embeddings import TASK_TYPE
from service.wire.fields import (
    EnumPair,
    build,
    chosen,
    facts_from_proto,
    maybe,
    optional,
    struct_of,
)
from service.wire.response_format import FORMAT_TYPE
from service.wire.score import SCORE_TYPE
from service.wire.tools import PROMPT_FORMAT

STATE = EnumPair(ModelState, pb.ModelState, "MODEL_STATE_")
MODEL_TYPE = EnumPair(ModelType, pb.ModelType, "MODEL_TYPE_")


def model_from_proto(message: pb.Model) -> Model:
    return build(
        Model,
        identifier=message.identifier,
        provider_resource_id=message.provider_resource_id,
        provider_id=message.provider_id,
        model_type=MODEL_TYPE.required_from_proto(message.model_type, "model_type"),
        metadata=facts_from_proto(message.metadata, "metadata"),
        capabilities=capabilities_from_proto(message.capabilities),
        limits=limits_from_proto(message.limits),
        quantization=maybe(message, "quantization", quantization_from_proto),
        base_model_id=optional(message, "base_model_id"),
        state=STATE.required_from_proto(message.state, "state"),
        embedding_dimension=optional(message, "embedding_dimension"),
    )


def model_to_proto(model: Model) -> pb.Model:
    quantization = None if model.quantization is None else quantization_to_proto(model.quantization)
    return pb.Model(
        identifier=model.identifier,
        provider_resource_id=model.provider_resource_id,
        provider_id=model.provider_id,
        model_type=MODEL_TYPE.to_proto(model.model_type),
        metadata=struct_of(model.metadata),
        capabilities=capabilities_to_proto(model.capabilities),
        limits=limits_to_proto(model.limits),
        quantization=quantization,
        base_model_id=model.base_model_id,
        state=STATE.to_proto(model.state),
        embedding_dimension=model.embedding_dimension,
    )


def registration_from_proto(message: pb.RegisterModelRequest) -> Registration:
    """Raises FeatureNotImplemented for what isn't an adapter."""
    if not message.model_id:
        raise InvalidField("model_id", "A value is required.")
    if MODEL_TYPE.from_proto(message.model_type, "model_type") not in (None, ModelType.LLM):
        raise FeatureNotImplemented("model_type", "Only adapters of language models can be registered.")
    if not message.base_model_id:
        raise FeatureNotImplemented("base_model_id", "Only adapters can be registered; name the model to load it into.")
    path = optional(message, "provider_model_id")
    return Registration(
        model_id=message.model_id,
        provider_model_id=message.model_id if path is None else path,
        base_model_id=message.base_model_id,
        provider_id=optional(message, "provider_id"),
        metadata=facts_from_proto(message.metadata, "metadata"),
    )


def registration_request(registration: Registration) -> pb.RegisterModelRequest:
    return pb.RegisterModelRequest(
        model_id=registration.model_id,
        provider_model_id=registration.provider_model_id,
        base_model_id=registration.base_model_id,
        provider_id=registration.provider_id,
        metadata=struct_of(registration.metadata) if registration.metadata else None,
    )


def capabilities_from_proto(message: pb.ModelCapabilities) -> ModelCapabilities:
    """What a newer server can do besides is left out: nobody who doesn't know it can ask for it."""
    return ModelCapabilities(
        images=message.images,
        chat=message.chat,
        response_formats=FORMAT_TYPE.known_from_proto(message.response_formats),
        tool_prompt_formats=PROMPT_FORMAT.known_from_proto(message.tool_prompt_formats),
        output_dimension=message.output_dimension,
        embedding_task_types=TASK_TYPE.known_from_proto(message.embedding_task_types),
        reasoning=message.reasoning,
        reasoning_switch=message.reasoning_switch,
        score_types=SCORE_TYPE.known_from_proto(message.score_types),
    )


def capabilities_to_proto(capabilities: ModelCapabilities) -> pb.ModelCapabilities:
    return pb.ModelCapabilities(
        images=capabilities.images,
        chat=capabilities.chat,
        response_formats=map(FORMAT_TYPE.to_proto, capabilities.response_formats),
        tool_prompt_formats=map(PROMPT_FORMAT.to_proto, capabilities.tool_prompt_formats),
        output_dimension=capabilities.output_dimension,
        embedding_task_types=map(TASK_TYPE.to_proto, capabilities.embedding_task_types),
        reasoning=capabilities.reasoning,
        reasoning_switch=capabilities.reasoning_switch,
        score_types=map(SCORE_TYPE.to_proto, capabilities.score_types),
    )


def limits_from_proto(message: pb.ModelLimits) -> ModelLimits:
    return ModelLimits(
        context_length=message.context_length,
        max_request_bytes=message.max_request_bytes,
        max_elements=message.max_elements,
        max_logprobs=message.max_logprobs,
        max_contents=message.max_contents,
        max_messages=message.max_messages,
        max_constraint_bytes=message.max_constraint_bytes,
        max_tools=message.max_tools,
        max_stop_strings=message.max_stop_strings,
        max_stop_token_ids=message.max_stop_token_ids,
        max_logit_biases=message.max_logit_biases,
        max_tokenized_tokens=message.max_tokenized_tokens,
        max_images=message.max_images,
        max_image_bytes=message.max_image_bytes,
        max_image_pixels=message.max_image_pixels,
        max_documents=message.max_documents,
        max_adapters=message.max_adapters,
        max_lora_rank=message.max_lora_rank,
    )


def limits_to_proto(limits: ModelLimits) -> pb.ModelLimits:
    return pb.ModelLimits(
        context_length=limits.context_length,
        max_request_bytes=limits.max_request_bytes,
        max_elements=limits.max_elements,
        max_logprobs=limits.max_logprobs,
        max_contents=limits.max_contents,
        max_messages=limits.max_messages,
        max_constraint_bytes=limits.max_constraint_bytes,
        max_tools=limits.max_tools,
        max_stop_strings=limits.max_stop_strings,
        max_stop_token_ids=limits.max_stop_token_ids,
        max_logit_biases=limits.max_logit_biases,
        max_tokenized_tokens=limits.max_tokenized_tokens,
        max_images=limits.max_images,
        max_image_bytes=limits.max_image_bytes,
        max_image_pixels=limits.max_image_pixels,
        max_documents=limits.max_documents,
        max_adapters=limits.max_adapters,
        max_lora_rank=limits.max_lora_rank,
    )


def quantization_from_proto(message: pb.QuantizationConfig) -> QuantizationConfig:
    method = optional(message, "method")
    match chosen(message, "config"):
        case "bf16":
            return Bf16QuantizationConfig(method=method)
        case "fp8":
            return Fp8QuantizationConfig(method=method)
        case "int4":
            return Int4QuantizationConfig(method=method, scheme=optional(message.int4, "scheme"))
        case "int8":
            return Int8QuantizationConfig(method=method, scheme=optional(message.int8, "scheme"))
        case _:
            return OtherQuantizationConfig(method=method, scheme=message.other.scheme)


def quantization_to_proto(config: QuantizationConfig) -> pb.QuantizationConfig:
    method = config.method
    match config:
        case Bf16QuantizationConfig():
            return pb.QuantizationConfig(method=method, bf16=pb.Bf16QuantizationConfig())
        case Fp8QuantizationConfig():
            return pb.QuantizationConfig(method=method, fp8=pb.Fp8QuantizationConfig())
        case Int4QuantizationConfig(scheme=scheme):
            return pb.QuantizationConfig(method=method, int4=pb.Int4QuantizationConfig(scheme=scheme))
        case Int8QuantizationConfig(scheme=scheme):
            return pb.QuantizationConfig(method=method, int8=pb.Int8QuantizationConfig(scheme=scheme))
        case OtherQuantizationConfig(scheme=scheme):
            return pb.QuantizationConfig(method=method, other=pb.OtherQuantizationConfig(scheme=scheme))
        case _:
            assert_never(config)
