"""InferenceService."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

from inferwire.v1 import (
    chat_pb2,
    completion_pb2,
    embeddings_pb2,
    inference_service_pb2_grpc,
    preflight_pb2,
    score_pb2,
    tokenize_pb2,
)
from service.api.embeddings import EmbeddingOptions
from service.api.preflight import PreflightReport
from service.errors import InvalidField, RequestError
from service.inference.bulk_embeddings import BulkEmbeddings, ReceivedItem
from service.inference.chat import Chat
from service.inference.completion import Completion
from service.inference.embeddings import Embeddings
from service.inference.preflight import Preflight
from service.inference.scoring import Scoring
from service.inference.tokenize import Tokenize
from service.rpc.context import Context
from service.telemetry.calls import current_call
from service.wire.chat import chat_chunk_to_proto, chat_request_from_proto, chat_response_to_proto
from service.wire.completion import (
    completion_chunk_to_proto,
    completion_request_from_proto,
    completion_response_to_proto,
)
from service.wire.content import item_from_proto
from service.wire.embeddings import (
    answer_from_result,
    embedding_options_from_proto,
    embeddings_request_from_proto,
    embeddings_response_to_proto,
)
from service.wire.fields import at, chosen
from service.wire.preflight import preflight_report_to_proto, preflight_request_from_proto
from service.wire.score import (
    rerank_request_from_proto,
    rerank_response_to_proto,
    score_request_from_proto,
    score_response_to_proto,
)
from service.wire.tokenize import (
    detokenize_request_from_proto,
    detokenize_response_to_proto,
    tokenize_request_from_proto,
    tokenize_response_to_proto,
)

# So many take longer to write than a thread to wake up.
MANY_SPANS = 500


class InferenceServicer(inference_service_pb2_grpc.InferenceServiceServicer):
    def __init__(
        self,
        chat: Chat,
        completion: Completion,
        embeddings: Embeddings,
        bulk_embeddings: BulkEmbeddings,
        preflight: Preflight,
        scoring: Scoring,
        tokenize: Tokenize,
    ) -> None:
        self._chat = chat
        self._completion = completion
        self._embeddings = embeddings
        self._bulk_embeddings = bulk_embeddings
        self._preflight = preflight
        self._scoring = scoring
        self._tokenize = tokenize

    async def ChatCompletion(
        self, request: chat_pb2.ChatCompletionRequest, context: Context
    ) -> chat_pb2.ChatCompletionResponse:
        answer = await self._chat.answer(chat_request_from_proto(request), current_call())
        return chat_response_to_proto(answer)

    async def StreamChatCompletion(
        self, request: chat_pb2.ChatCompletionRequest, context: Context
    ) -> AsyncIterator[chat_pb2.ChatCompletionResponseStreamChunk]:
        async with aclosing(self._chat.stream(chat_request_from_proto(request), current_call())) as events:
            async for event in events:
                yield chat_chunk_to_proto(event)

    async def Completion(
        self, request: completion_pb2.CompletionRequest, context: Context
    ) -> completion_pb2.CompletionResponse:
        answer = await self._completion.answer(completion_request_from_proto(request), current_call())
        return completion_response_to_proto(answer)

    async def StreamCompletion(
        self, request: completion_pb2.CompletionRequest, context: Context
    ) -> AsyncIterator[completion_pb2.CompletionResponseStreamChunk]:
        async with aclosing(self._completion.stream(completion_request_from_proto(request), current_call())) as events:
            async for event in events:
                yield completion_chunk_to_proto(event)

    async def Embeddings(
        self, request: embeddings_pb2.EmbeddingsRequest, context: Context
    ) -> embeddings_pb2.EmbeddingsResponse:
        answer = await self._embeddings.embed(embeddings_request_from_proto(request), current_call())
        return embeddings_response_to_proto(answer)

    async def StreamEmbeddings(
        self, request_iterator: AsyncIterator[embeddings_pb2.StreamEmbeddingsRequest], context: Context
    ) -> AsyncIterator[embeddings_pb2.StreamEmbeddingsResponse]:
        call = current_call()
        options = await _options(request_iterator)
        async with self._bulk_embeddings.opened(options, call) as stream:
            await context.send_initial_metadata(())
            async with aclosing(stream.results(_items(request_iterator))) as results:
                async for result in results:
                    yield answer_from_result(result, call.request_id)

    async def Preflight(
        self, request: preflight_pb2.PreflightRequest, context: Context
    ) -> preflight_pb2.PreflightResponse:
        # None at all is a mistake of this call, not one to report about the request inside.
        chosen(request, "request")
        try:
            examined = preflight_request_from_proto(request)
        except RequestError as error:
            # What is being asked for: it would be refused so.
            return preflight_report_to_proto(PreflightReport.refusal(error.violations))
        return preflight_report_to_proto(await self._preflight.examine(examined, current_call()))

    async def Score(self, request: score_pb2.ScoreRequest, context: Context) -> score_pb2.ScoreResponse:
        answer = await self._scoring.score(score_request_from_proto(request), current_call())
        return score_response_to_proto(answer)

    async def Rerank(self, request: score_pb2.RerankRequest, context: Context) -> score_pb2.RerankResponse:
        answer = await self._scoring.rerank(rerank_request_from_proto(request), current_call())
        return rerank_response_to_proto(answer)

    async def Tokenize(self, request: tokenize_pb2.TokenizeRequest, context: Context) -> tokenize_pb2.TokenizeResponse:
        answer = await self._tokenize.tokenize(tokenize_request_from_proto(request), current_call())
        if len(answer.spans) > MANY_SPANS:
            return await asyncio.to_thread(tokenize_response_to_proto, answer)
        return tokenize_response_to_proto(answer)

    async def Detokenize(
        self, request: tokenize_pb2.DetokenizeRequest, context: Context
    ) -> tokenize_pb2.DetokenizeResponse:
        answer = await self._tokenize.detokenize(detokenize_request_from_proto(request), current_call())
        return detokenize_response_to_proto(answer)


async def _options(messages: AsyncIterator[embeddings_pb2.StreamEmbeddingsRequest]) -> EmbeddingOptions:
    async for message in messages:
        if chosen(message, "request") != "options":
            break
        with at("options"):
            return embedding_options_from_proto(message.options)
    raise InvalidField("options", "The first message of a stream holds the options.")


async def _items(messages: AsyncIterator[embeddings_pb2.StreamEmbeddingsRequest]) -> AsyncIterator[ReceivedItem]:
    async for message in messages:
        if chosen(message, "request") != "item":
            raise InvalidField("options", "Only the first message of a stream holds options.")
        yield _received(message.item)


def _received(item: embeddings_pb2.StreamEmbeddingsItem) -> ReceivedItem:
    size_bytes = item.ByteSize()
    try:
        return ReceivedItem(item.id, item_from_proto(item.content), size_bytes)
    except RequestError as error:
        return ReceivedItem(item.id, error, size_bytes)
