"""Models: what is served, what each can do, and its limits."""

from enum import StrEnum
from typing import Any, TypeAlias

from pydantic import Field

from service.api.base import ApiModel
from service.api.embeddings import EmbeddingTaskType
from service.api.response_format import ResponseFormatType
from service.api.score import ScoreType
from service.api.tools import ToolPromptFormat


class ModelType(StrEnum):
    LLM = "llm"
    EMBEDDING = "embedding"
    SCORING = "scoring"


class ModelState(StrEnum):
    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"


class _Quantization(ApiModel):
    """`method` is what the engine calls the way it runs such weights."""

    method: str | None = None


class Bf16QuantizationConfig(_Quantization):
    pass


class Fp8QuantizationConfig(_Quantization):
    pass


class Int4QuantizationConfig(_Quantization):
    scheme: str | None = None


class Int8QuantizationConfig(_Quantization):
    scheme: str | None = None


class OtherQuantizationConfig(_Quantization):
    scheme: str


QuantizationConfig: TypeAlias = (
    Bf16QuantizationConfig
    | Fp8QuantizationConfig
    | Int4QuantizationConfig
    | Int8QuantizationConfig
    | OtherQuantizationConfig
)


class ModelCapabilities(ApiModel):
    images: bool = False
    chat: bool = False
    response_formats: tuple[ResponseFormatType, ...] = ()
    tool_prompt_formats: tuple[ToolPromptFormat, ...] = ()
    output_dimension: bool = False
    embedding_task_types: tuple[EmbeddingTaskType, ...] = ()
    reasoning: bool = False
    reasoning_switch: bool = False
    score_types: tuple[ScoreType, ...] = ()


class ModelLimits(ApiModel):
    """`context_length` in tokens; for embedding models of one text, for scoring models of a pair."""

    context_length: int = 0
    max_request_bytes: int = 0
    max_elements: int = 0
    max_logprobs: int = 0
    max_contents: int = 0
    max_messages: int = 0
    max_constraint_bytes: int = 0
    max_tools: int = 0
    max_stop_strings: int = 0
    max_stop_token_ids: int = 0
    max_logit_biases: int = 0
    max_tokenized_tokens: int = 0
    max_images: int = 0
    max_image_bytes: int = 0
    max_image_pixels: int = 0
    max_documents: int = 0
    max_adapters: int = 0
    max_lora_rank: int = 0


class Registration(ApiModel):
    """A LoRA adapter to serve as a model of its own; `provider_model_id` is its path below the operator's folder."""

    model_id: str
    provider_model_id: str
    base_model_id: str
    provider_id: str | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)


class Model(ApiModel):
    identifier: str
    provider_resource_id: str
    provider_id: str
    model_type: ModelType
    metadata: dict[str, Any] = Field(default_factory=dict)
    capabilities: ModelCapabilities = ModelCapabilities()
    limits: ModelLimits = ModelLimits()
    quantization: QuantizationConfig | None = None
    base_model_id: str | None = None
    state: ModelState = ModelState.LOADING
    embedding_dimension: int | None = None
