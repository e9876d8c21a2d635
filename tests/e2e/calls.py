"""Calls that last, and what goes on around them."""

import asyncio
import time
from typing import Any, cast

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from inferwire.v1 import admin_service_pb2, admin_service_pb2_grpc, inference_service_pb2_grpc
from service.api.chat import ChatCompletionRequest
from service.api.completion import CompletionRequest
from service.api.content import TextContentItem
from service.api.embeddings import EmbeddingsRequest
from service.api.messages import UserMessage
from service.api.sampling import SamplingParams
from service.wire.completion import completion_request_to_proto
from tests.serving import EMBEDDER, LLM, LOAD_S

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
SERVICES = ("", "inferwire.v1.InferenceService", "inferwire.v1.ModelService", "inferwire.v1.AdminService")


def lasting(tokens: int) -> dict[str, Any]:
    """Sampling that ends after so many tokens, whatever the model thinks."""
    return {"sampling_params": SamplingParams(max_tokens=tokens, min_tokens=tokens)}


def chat(text: str = "Tell me a story.", tokens: int = 8) -> ChatCompletionRequest:
    return ChatCompletionRequest(model_id=LLM, messages=(UserMessage(content=text),), **lasting(tokens))


def completion(text: str = "Once upon a time", tokens: int = 8) -> CompletionRequest:
    return CompletionRequest(model_id=LLM, content=text, **lasting(tokens))


def embeddings(*texts: str) -> EmbeddingsRequest:
    return EmbeddingsRequest(model_id=EMBEDDER, contents=tuple(TextContentItem(text=text) for text in texts))


async def loads_of(target: str) -> list[admin_service_pb2.ModelLoad]:
    async with grpc.aio.insecure_channel(target) as channel:
        stub = admin_service_pb2_grpc.AdminServiceStub(channel)  # type: ignore[no-untyped-call]
        return list((await stub.GetLoad(admin_service_pb2.GetLoadRequest())).models)


async def asked_once(target: str) -> grpc.StatusCode:
    """What becomes of a call without retries, with which one may outlast the return of an engine."""
    async with grpc.aio.insecure_channel(target) as channel:
        stub = inference_service_pb2_grpc.InferenceServiceStub(channel)  # type: ignore[no-untyped-call]
        call = stub.Completion(completion_request_to_proto(completion()))
        return cast(grpc.StatusCode, await call.code())


async def health_of(target: str, service: str = "") -> int:
    async with grpc.aio.insecure_channel(target) as channel:
        request = health_pb2.HealthCheckRequest(service=service)
        answer = await health_pb2_grpc.HealthStub(channel).Check(request, wait_for_ready=True, timeout=30)
        return int(answer.status)


async def settled(target: str, status: int, timeout_s: float = LOAD_S) -> bool:
    """Whether health comes to be so in time."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if await health_of(target) == status:
            return True
        await asyncio.sleep(0.1)
    return False
