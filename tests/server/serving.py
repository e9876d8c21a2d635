"""The server as service/server/app.py joins it, in this process and over scripted engines, as callers see it."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2 as details_pb
from google.rpc import status_pb2

from inferwire.v1 import admin_service_pb2, inference_service_pb2, model_service_pb2
from service.decoding.compile_check import CompileCheck
from service.engines.base import Engine
from service.engines.scripted import Reply, ScriptedEmbeddingEngine, ScriptedLanguageEngine
from service.images.network import Network
from service.server.app import assemble
from service.server.lifecycle import Lifecycle
from service.server.progress import SilentProgress
from service.settings import (
    AdmissionSettings,
    EngineFailurePolicy,
    EngineSettings,
    LimitSettings,
    ModelSettings,
    Settings,
)
from tests.decoding.tried import TriedHere

LLM, EMBEDDER, SCORER = "llm", "embedder", "scorer"
LIMITS = LimitSettings(
    max_request_bytes=8192,
    max_elements=1000,
    max_messages=8,
    max_contents=8,
    max_stream_items=32,
    max_constraint_bytes=1024,
    max_documents=8,
    max_tokenized_tokens=2048,
)
PATIENCE_S = 10
METHODS: dict[str, MethodDescriptor] = {
    method.name: method
    for module in (inference_service_pb2, model_service_pb2, admin_service_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}


def language(reply: Reply | None = None) -> ScriptedLanguageEngine:
    return ScriptedLanguageEngine(LLM, LIMITS, lambda _: reply or Reply("Hi."))


def embedder() -> ScriptedEmbeddingEngine:
    return ScriptedEmbeddingEngine(EMBEDDER, LIMITS)


@dataclass
class Running:
    """A server that runs until the test ends, and a channel to it."""

    lifecycle: Lifecycle
    finished: "asyncio.Task[int]"
    ready: asyncio.Event
    channel: grpc.aio.Channel
    told_addresses: list[str] = field(default_factory=list)

    @property
    def address(self) -> str:
        return self.lifecycle.address

    def stop(self) -> None:
        self.lifecycle.request_stop()

    async def exit_code(self) -> int:
        return await asyncio.wait_for(self.finished, PATIENCE_S)

    def call(self, name: str, request: Any, timeout_s: float = PATIENCE_S, **metadata: str) -> Any:
        """A call under way; `request` is a message, or bytes to send as they are."""
        return call(self.channel, name, request, timeout_s, **metadata)

    async def answers(self, name: str, request: Any, timeout_s: float = PATIENCE_S, **metadata: str) -> list[Any]:
        return await answers(self.call(name, request, timeout_s, **metadata))

    async def failure(self, name: str, request: Any, timeout_s: float = PATIENCE_S, **metadata: str) -> "Failure":
        try:
            await self.answers(name, request, timeout_s, **metadata)
        except grpc.aio.AioRpcError as error:
            return Failure.of(error)
        raise AssertionError(f"{name} succeeded")


@asynccontextmanager
async def running(
    *engines: Engine,
    wait: bool = True,
    compile_check: CompileCheck | None = None,
    admission: AdmissionSettings | None = None,
    engine: EngineSettings | None = None,
    settings: Mapping[str, Any] | None = None,
    limits: Mapping[str, int] | None = None,
    network: Network | None = None,
    **server: Any,
) -> AsyncIterator[Running]:
    """`settings` are those of other sections."""
    configured = Settings(
        **{"server": {"address": "127.0.0.1:0", "grace_s": 5, "drain_window_s": 0, **server}, **(settings or {})},
        engine=engine or EngineSettings(on_failure=EngineFailurePolicy.EXIT),
        limits=LIMITS.model_copy(update=limits),
        models=[ModelSettings(path=e.identifier, admission=admission or AdmissionSettings()) for e in engines],
    )
    ready, told = asyncio.Event(), []

    def on_ready(address: str) -> None:
        told.append(address)
        ready.set()

    lifecycle = await assemble(configured, engines, compile_check or TriedHere(), SilentProgress(), on_ready, network)
    finished = asyncio.create_task(lifecycle.run())
    async with grpc.aio.insecure_channel(lifecycle.address) as channel:
        if wait:
            await asyncio.wait_for(ready.wait(), PATIENCE_S)
        try:
            yield Running(lifecycle, finished, ready, channel, told)
        finally:
            lifecycle.request_stop()
            lifecycle.request_stop()
            await finished


def call(channel: grpc.aio.Channel, name: str, request: Any, timeout_s: float = PATIENCE_S, **metadata: str) -> Any:
    method = METHODS[name]
    reply = GetMessageClass(method.output_type)
    raw = request if isinstance(request, bytes) else request.SerializeToString()
    path = f"/{method.containing_service.full_name}/{name}"
    given = tuple((key.replace("_", "-"), value) for key, value in metadata.items())
    kinds = {
        (False, False): channel.unary_unary,
        (False, True): channel.unary_stream,
        (True, True): channel.stream_stream,
    }
    multi = kinds[(method.client_streaming, method.server_streaming)](path, None, reply.FromString)
    return multi([raw] if method.client_streaming else raw, metadata=given, timeout=timeout_s)


async def answers(under_way: Any) -> list[Any]:
    if isinstance(under_way, grpc.aio.UnaryUnaryCall):
        return [await under_way]
    return [answer async for answer in under_way]


def request(name: str, **fields: Any) -> Any:
    return GetMessageClass(METHODS[name].input_type)(**fields)


def trailing(metadata: Sequence[tuple[str, Any]] | None) -> dict[str, Any]:
    return dict(metadata or ())


@dataclass(frozen=True)
class Failure:
    """What a failed call ended with."""

    code: grpc.StatusCode
    message: str
    trailing: dict[str, Any]
    details: list[Any]

    @classmethod
    def of(cls, error: grpc.aio.AioRpcError) -> "Failure":
        metadata = trailing(error.trailing_metadata())
        packed = status_pb2.Status.FromString(metadata.get("grpc-status-details-bin", b""))
        return cls(error.code(), error.details() or "", metadata, list(packed.details))

    def detail(self, kind: Any) -> Any:
        for packed in self.details:
            message = kind()
            if packed.Unpack(message):
                return message
        return None

    @property
    def reason(self) -> str:
        info = self.detail(details_pb.ErrorInfo)
        return info.reason if info and info.domain == "inferwire" else ""

    @property
    def facts(self) -> dict[str, str]:
        return dict(self.detail(details_pb.ErrorInfo).metadata)

    @property
    def retry_after_s(self) -> float | None:
        """From the details; the pushback trailer says the same."""
        info = self.detail(details_pb.RetryInfo)
        if info is None:
            return None
        delay = info.retry_delay.ToNanoseconds() / 1e9
        assert float(self.trailing["grpc-retry-pushback-ms"]) == pytest.approx(delay * 1000, abs=1)
        return float(delay)

    @property
    def fields(self) -> list[str]:
        bad_request = self.detail(details_pb.BadRequest)
        return [violation.field for violation in bad_request.field_violations] if bad_request else []

    @property
    def request_id(self) -> str:
        return str(self.detail(details_pb.RequestInfo).request_id)
