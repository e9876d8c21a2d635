"""Embedding requests and answers."""

from inferwire.v1 import embeddings_pb2 as pb
from service.api.embeddings import (
    Embedding,
    EmbeddingEncoding,
    EmbeddingsRequest,
    EmbeddingsResponse,
    EmbeddingTaskType,
    TextTruncation,
)
from service.wire.content import item_from_proto, item_to_proto
from service.wire.fields import EnumPair, build, each, optional
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


def embedding_from_proto(message: pb.Embedding) -> Embedding:
    return Embedding(
        values=tuple(message.values),
        packed=message.packed,
        truncated=message.truncated,
        original_tokens=message.original_tokens,
        used_tokens=message.used_tokens,
    )


def embedding_to_proto(embedding: Embedding) -> pb.Embedding:
    return pb.Embedding(
        values=embedding.values,
        packed=embedding.packed,
        truncated=embedding.truncated,
        original_tokens=embedding.original_tokens,
        used_tokens=embedding.used_tokens,
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
