"""Embedding requests and answers, one by one and in bulk."""

from inferwire.v1 import embeddings_pb2 as pb
from service.api.embeddings import (
    Embedding,
    EmbeddingEncoding,
    EmbeddingItem,
    EmbeddingOptions,
    EmbeddingResult,
    EmbeddingsRequest,
    EmbeddingsResponse,
    EmbeddingTaskType,
    TextTruncation,
)
from service.errors import InvalidField, RequestError
from service.wire.content import item_from_proto, item_to_proto
from service.wire.fields import EnumPair, at, build, each, optional
from service.wire.status import error_from_details, packed_status
from service.wire.usage import timings_from_proto, timings_to_proto, usage_from_proto, usage_to_proto

TEXT_TRUNCATION = EnumPair(TextTruncation, pb.TextTruncation, "TEXT_TRUNCATION_")
TASK_TYPE = EnumPair(EmbeddingTaskType, pb.EmbeddingTaskType, "EMBEDDING_TASK_TYPE_")
ENCODING = EnumPair(EmbeddingEncoding, pb.EmbeddingEncoding, "EMBEDDING_ENCODING_")


def embeddings_request_from_proto(message: pb.EmbeddingsRequest) -> EmbeddingsRequest:
    return build(
        EmbeddingsRequest,
        model_id=message.model_id,
        contents=each(message.contents, "contents", item_from_proto),
        text_truncation=TEXT_TRUNCATION.from_proto(message.text_truncation, "text_truncation"),
        output_dimension=optional(message, "output_dimension"),
        task_type=TASK_TYPE.from_proto(message.task_type, "task_type"),
        encoding=ENCODING.from_proto(message.encoding, "encoding"),
    )


def embeddings_request_to_proto(request: EmbeddingsRequest) -> pb.EmbeddingsRequest:
    return pb.EmbeddingsRequest(
        model_id=request.model_id,
        contents=map(item_to_proto, request.contents),
        text_truncation=TEXT_TRUNCATION.to_proto(request.text_truncation),
        output_dimension=request.output_dimension,
        task_type=TASK_TYPE.to_proto(request.task_type),
        encoding=ENCODING.to_proto(request.encoding),
    )


def embedding_options_from_proto(message: pb.StreamEmbeddingsOptions) -> EmbeddingOptions:
    return build(
        EmbeddingOptions,
        model_id=message.model_id,
        text_truncation=TEXT_TRUNCATION.from_proto(message.text_truncation, "text_truncation"),
        output_dimension=optional(message, "output_dimension"),
        task_type=TASK_TYPE.from_proto(message.task_type, "task_type"),
        encoding=ENCODING.from_proto(message.encoding, "encoding"),
    )


def embedding_options_to_proto(options: EmbeddingOptions) -> pb.StreamEmbeddingsOptions:
    return pb.StreamEmbeddingsOptions(
        model_id=options.model_id,
        text_truncation=TEXT_TRUNCATION.to_proto(options.text_truncation),
        output_dimension=options.output_dimension,
        task_type=TASK_TYPE.to_proto(options.task_type),
        encoding=ENCODING.to_proto(options.encoding),
    )


def embedding_item_from_proto(message: pb.StreamEmbeddingsItem) -> EmbeddingItem:
    with at("content"):
        content = item_from_proto(message.content)
    return build(EmbeddingItem, id=message.id, content=content)


def embedding_item_to_proto(item: EmbeddingItem) -> pb.StreamEmbeddingsItem:
    return pb.StreamEmbeddingsItem(id=item.id, content=item_to_proto(item.content))


def embedding_result_from_proto(message: pb.StreamEmbeddingsResponse) -> EmbeddingResult:
    if message.WhichOneof("result") == "embedding":
        return EmbeddingResult(message.id, embedding_from_proto(message.embedding))
    error = error_from_details(message.error.details, message.error.message)
    # A newer server may have reasons that are unknown here.
    known = error if isinstance(error, RequestError) else InvalidField("", message.error.message)
    return EmbeddingResult(message.id, known)


def answer_from_result(result: EmbeddingResult, request_id: str) -> pb.StreamEmbeddingsResponse:
    if isinstance(result.outcome, Embedding):
        return pb.StreamEmbeddingsResponse(id=result.id, embedding=embedding_to_proto(result.outcome))
    status = packed_status(result.outcome, request_id)
    error = pb.ItemError(code=status.code, message=status.message, details=status.details)
    return pb.StreamEmbeddingsResponse(id=result.id, error=error)


def embedding_from_proto(message: pb.Embedding) -> Embedding:
    return Embedding(
        values=tuple(message.values),
        packed=message.packed,
        truncated=message.truncated,
        original_tokens=message.original_tokens,
        used_tokens=message.used_tokens,
        scale=message.scale,
    )


def embedding_to_proto(embedding: Embedding) -> pb.Embedding:
    return pb.Embedding(
        values=embedding.values,
        packed=embedding.packed,
        truncated=embedding.truncated,
        original_tokens=embedding.original_tokens,
        used_tokens=embedding.used_tokens,
        scale=embedding.scale,
    )


def embeddings_response_from_proto(message: pb.EmbeddingsResponse) -> EmbeddingsResponse:
    return EmbeddingsResponse(
        embeddings=tuple(map(embedding_from_proto, message.embeddings)),
        usage=usage_from_proto(message.usage),
        timings=timings_from_proto(message.timings),
        model_id=message.model_id,
        request_id=message.request_id,
    )


def embeddings_response_to_proto(response: EmbeddingsResponse) -> pb.EmbeddingsResponse:
    return pb.EmbeddingsResponse(
        embeddings=map(embedding_to_proto, response.embeddings),
        usage=usage_to_proto(response.usage),
        timings=timings_to_proto(response.timings),
        model_id=response.model_id,
        request_id=response.request_id,
    )
