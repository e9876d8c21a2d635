"""Requests for scores and rankings, and their answers."""

from inferwire.v1 import score_pb2 as pb
from service.api.score import (
    RerankDocument,
    RerankRequest,
    RerankResponse,
    RerankResult,
    ScorePair,
    ScoreRequest,
    ScoreResponse,
    ScoreResult,
    ScoreType,
)
from service.wire.embeddings import TEXT_TRUNCATION
from service.wire.fields import EnumPair, build, each, gathered, given, maybe, optional
from service.wire.usage import timings_from_proto, timings_to_proto, usage_from_proto, usage_to_proto

SCORE_TYPE = EnumPair(ScoreType, pb.ScoreType, "SCORE_TYPE_")


def score_request_from_proto(message: pb.ScoreRequest) -> ScoreRequest:
    return build(
        ScoreRequest,
        **gathered(
            model_id=lambda: message.model_id,
            pairs=lambda: each(message.pairs, "pairs", score_pair_from_proto),
            text_truncation=lambda: TEXT_TRUNCATION.from_proto(message.text_truncation, "text_truncation"),
            raw_scores=lambda: message.raw_scores,
        ),
    )


def score_request_to_proto(request: ScoreRequest) -> pb.ScoreRequest:
    return pb.ScoreRequest(
        model_id=request.model_id,
        pairs=map(score_pair_to_proto, request.pairs),
        text_truncation=TEXT_TRUNCATION.to_proto(request.text_truncation),
        raw_scores=request.raw_scores,
    )


def score_pair_from_proto(message: pb.ScorePair) -> ScorePair:
    return build(ScorePair, query=message.query, document=message.document)


def score_pair_to_proto(pair: ScorePair) -> pb.ScorePair:
    return pb.ScorePair(query=pair.query, document=pair.document)


def score_response_from_proto(message: pb.ScoreResponse) -> ScoreResponse:
    return ScoreResponse(
        results=tuple(map(score_result_from_proto, message.results)),
        score_type=SCORE_TYPE.required_from_proto(message.score_type, "score_type"),
        usage=usage_from_proto(message.usage),
        timings=timings_from_proto(message.timings),
        model_id=message.model_id,
        request_id=message.request_id,
    )


def score_response_to_proto(response: ScoreResponse) -> pb.ScoreResponse:
    return pb.ScoreResponse(
        results=map(score_result_to_proto, response.results),
        score_type=SCORE_TYPE.to_proto(response.score_type),
        usage=usage_to_proto(response.usage),
        timings=timings_to_proto(response.timings),
        model_id=response.model_id,
        request_id=response.request_id,
    )


def score_result_from_proto(message: pb.ScoreResult) -> ScoreResult:
    return ScoreResult(
        score=message.score,
        truncated=message.truncated,
        original_tokens=message.original_tokens,
        used_tokens=message.used_tokens,
    )


def score_result_to_proto(result: ScoreResult) -> pb.ScoreResult:
    return pb.ScoreResult(
        score=result.score,
        truncated=result.truncated,
        original_tokens=result.original_tokens,
        used_tokens=result.used_tokens,
    )


def rerank_request_from_proto(message: pb.RerankRequest) -> RerankRequest:
    return build(
        RerankRequest,
        **gathered(
            model_id=lambda: message.model_id,
            query=lambda: message.query,
            documents=lambda: each(message.documents, "documents", rerank_document_from_proto),
            top_n=lambda: optional(message, "top_n"),
            return_documents=lambda: message.return_documents,
            text_truncation=lambda: TEXT_TRUNCATION.from_proto(message.text_truncation, "text_truncation"),
            raw_scores=lambda: message.raw_scores,
        ),
    )


def rerank_request_to_proto(request: RerankRequest) -> pb.RerankRequest:
    return pb.RerankRequest(
        model_id=request.model_id,
        query=request.query,
        documents=map(rerank_document_to_proto, request.documents),
        top_n=request.top_n,
        return_documents=request.return_documents,
        text_truncation=TEXT_TRUNCATION.to_proto(request.text_truncation),
        raw_scores=request.raw_scores,
    )


def rerank_document_from_proto(message: pb.RerankDocument) -> RerankDocument:
    return build(RerankDocument, text=message.text, id=message.id)


def rerank_document_to_proto(document: RerankDocument) -> pb.RerankDocument:
    return pb.RerankDocument(text=document.text, id=document.id)


def rerank_response_from_proto(message: pb.RerankResponse) -> RerankResponse:
    return RerankResponse(
        results=tuple(map(rerank_result_from_proto, message.results)),
        score_type=SCORE_TYPE.required_from_proto(message.score_type, "score_type"),
        usage=usage_from_proto(message.usage),
        timings=timings_from_proto(message.timings),
        model_id=message.model_id,
        request_id=message.request_id,
    )


def rerank_response_to_proto(response: RerankResponse) -> pb.RerankResponse:
    return pb.RerankResponse(
        results=map(rerank_result_to_proto, response.results),
        score_type=SCORE_TYPE.to_proto(response.score_type),
        usage=usage_to_proto(response.usage),
        timings=timings_to_proto(response.timings),
        model_id=response.model_id,
        request_id=response.request_id,
    )


def rerank_result_from_proto(message: pb.RerankResult) -> RerankResult:
    return RerankResult(
        index=message.index,
        relevance_score=message.relevance_score,
        id=message.id,
        document=maybe(message, "document", rerank_document_from_proto),
        truncated=message.truncated,
        original_tokens=message.original_tokens,
        used_tokens=message.used_tokens,
    )


def rerank_result_to_proto(result: RerankResult) -> pb.RerankResult:
    return pb.RerankResult(
        index=result.index,
        relevance_score=result.relevance_score,
        id=result.id,
        document=given(rerank_document_to_proto, result.document),
        truncated=result.truncated,
        original_tokens=result.original_tokens,
        used_tokens=result.used_tokens,
    )
