"""Around every call: who calls, its message checks, its place in the count of calls under way, its status.

This is the only place where an exception becomes a gRPC status.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, contextmanager
from functools import partial
from inspect import isasyncgenfunction
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError

from service.api.usage import Usage
from service.errors import (
    DeadlineExceeded,
    Draining,
    InferwireError,
    InternalError,
    MalformedMessage,
    MessageTooLarge,
)
from service.server.auth import Authenticator, Caller
from service.server.load_reports import LoadReports
from service.settings import LimitSettings
from service.telemetry.calls import Call, begin_call, call_span
from service.telemetry.metrics import CallMetrics
from service.telemetry.traces import describe
from service.wire.orca import METADATA_KEY, load_to_orca
from service.wire.screening import screen
from service.wire.status import status_code, status_from_error
from service.wire.usage import usage_to_metadata

logger = logging.getLogger(__name__)

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
# The share of the time that a call has, and the most of it, that is kept for sending its end.
DEADLINE_MARGIN, DEADLINE_MARGIN_S = 0.1, 0.05
# Another server takes the call at once.
DRAINING_RETRY_S = 0.1

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Read: TypeAlias = Callable[[bytes], Any]
Around: TypeAlias = Callable[[Context], AbstractAsyncContextManager[None]]

SAN_PROPERTY = "x509_subject_alternative_name"
HEALTH_PREFIX = "/grpc.health.v1.Health/"


class InFlight:
    """The calls under way."""

    def __init__(self) -> None:
        self._limits: set[asyncio.Timeout] = set()
        self._none = asyncio.Event()
        self._none.set()
        self._closed = False

    @property
    def count(self) -> int:
        return len(self._limits)

    def enter(self, limit: asyncio.Timeout) -> None:
        """`limit` is what the call can be ended by."""
        self._limits.add(limit)
        self._none.clear()

    def leave(self, limit: asyncio.Timeout) -> None:
        self._limits.remove(limit)
        if not self._limits:
            self._none.set()

    def refuse_new(self) -> None:
        self._closed = True

    def check_open(self) -> None:
        """Raises Draining."""
        if self._closed:
            raise _draining()

    def end_all(self) -> None:
        """Ends the calls under way, each with a status that says why."""
        self._closed = True
        for limit in self._limits:
            if not limit.expired():
                limit.reschedule(0)

    def reason_of_end(self) -> InferwireError:
        """Why a call's limit has expired."""
        if self._closed:
            return _draining()
        return DeadlineExceeded("The deadline of the call passed before it was done.")

    async def wait_for_none(self) -> None:
        """Returns when no call is under way, its clean-up included; gRPC itself waits for the answers only."""
        await self._none.wait()


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Wraps all methods. Those of others need no more than a request that can be read and a caller who may call.

    Health needs no caller: those who probe it have no credentials.
    """

    def __init__(
        self,
        services: tuple[str, ...],
        authenticator: Authenticator,
        in_flight: InFlight,
        limits: LimitSettings,
        metrics: CallMetrics,
        load_reports: LoadReports | None = None,
        *,
        records_texts: bool = False,
    ) -> None:
        self._prefixes = tuple(f"/{service}/" for service in services)
        self._authenticator = authenticator
        self._in_flight = in_flight
        self._limits = limits
        self._metrics = metrics
        self._load_reports = load_reports
        self._records_texts = records_texts

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None:
            return None
        if method.startswith(self._prefixes):
            return _wrapped(handler, partial(self._call, method), self._read)
        return _wrapped(handler, partial(self._standard_call, method), _decoded)

    def _caller(self, context: Context) -> Caller:
        """Raises Unauthenticated."""
        return self._authenticator.authenticate(context.invocation_metadata() or (), _certificate_names(context))

    def _read(self, deserialize: Read, data: bytes) -> Any:
        size, limit = len(data), self._limits.max_request_bytes
        if size > limit:
            raise MessageTooLarge(
                "",
                f"The request has {size} bytes; the limit is {limit}.",
                metadata={"bytes": str(size), "limit": str(limit)},
            )
        message = _decoded(deserialize, data)
        screen(message, self._limits.max_elements, self._limits.max_tokenized_tokens)
        return message

    @asynccontextmanager
    async def _call(self, method: str, context: Context) -> AsyncIterator[None]:
        metadata = _texts(context)
        with call_span(method, metadata):
            call = begin_call(method, metadata, context.time_remaining())
            call.records_texts = self._records_texts
            limit = _limit(call)
            async with self._counted(call, context, limit), self._in_time(limit):
                self._in_flight.check_open()
                self._identify(call, context)
                yield

    @asynccontextmanager
    async def _standard_call(self, method: str, context: Context) -> AsyncIterator[None]:
        """A call of a service that isn't ours, which is neither counted nor logged."""
        call = begin_call(method, _texts(context))
        try:
            with _defects_logged(call):
                if not method.startswith(HEALTH_PREFIX):
                    self._caller(context)
                yield
        except InferwireError as error:
            await _end(context, call, error)

    def _identify(self, call: Call, context: Context) -> None:
        """Raises Unauthenticated, and PermissionDenied for a method; the registry raises it for a model."""
        caller = self._caller(context)
        call.identity, call.models = caller.identity, caller.models
        caller.check_method(call.method)

    @asynccontextmanager
    async def _in_time(self, limit: asyncio.Timeout) -> AsyncIterator[None]:
        try:
            async with limit:
                yield
        except TimeoutError:
            if not limit.expired():
                raise
            raise self._in_flight.reason_of_end() from None

    @asynccontextmanager
    async def _counted(self, call: Call, context: Context, limit: asyncio.Timeout) -> AsyncIterator[None]:
        self._in_flight.enter(limit)
        error: InferwireError | None = None
        code = grpc.StatusCode.CANCELLED
        try:
            with _defects_logged(call):
                yield
            code = grpc.StatusCode.OK
        except InferwireError as known:
            error = known
        finally:
            call.end()
            self._in_flight.leave(limit)
            code = status_code(error) if error else code
            reason = error.reason if error else ""
            self._metrics.record(call, code.name, reason)
            if self._load_reports:
                self._load_reports.count(code.name)
            describe(call, code.name, code.value[0], reason)
            _log(call, code, reason)
        await _end(context, call, error, self._load_reports)


def _wrapped(handler: Any, around: Around, read: Callable[[Read, bytes], Any]) -> Handler:
    """The handler gets bytes, which are read only once it is known who sent them, and inside of what turns a failure
    into a status: gRPC itself tells of one that it can't read in words of its own.
    """
    read, write = partial(read, handler.request_deserializer), handler.response_serializer
    if handler.unary_unary:
        return grpc.unary_unary_rpc_method_handler(
            _awaited(handler.unary_unary, around, read), response_serializer=write
        )
    if handler.unary_stream:
        # Health's is no generator, and writes to the context itself.
        wrap = _written if isasyncgenfunction(handler.unary_stream) else _awaited
        return grpc.unary_stream_rpc_method_handler(wrap(handler.unary_stream, around, read), response_serializer=write)
    stream = _written(handler.stream_stream, around, partial(_each, read))
    return grpc.stream_stream_rpc_method_handler(stream, response_serializer=write)


def _awaited(behavior: Callable[..., Any], around: Around, read: Callable[[Any], Any]) -> Callable[..., Any]:
    async def call(data: bytes, context: Context) -> Any:
        async with around(context):
            return await behavior(read(data), context)

    return call


def _written(behavior: Callable[..., Any], around: Around, read: Callable[[Any], Any]) -> Callable[..., Any]:
    async def call(data: Any, context: Context) -> None:
        # Writes rather than yields: when the client goes away, a generator would be left waiting at its yield for the
        # garbage collector, and the engine would go on.
        async with around(context), aclosing(behavior(read(data), context)) as responses:
            async for response in responses:
                await context.write(response)

    return call


def _decoded(deserialize: Read, data: bytes) -> Any:
    try:
        return deserialize(data)
    except DecodeError:
        raise MalformedMessage("", "The request is not a valid protobuf message of this method.") from None


@contextmanager
def _defects_logged(call: Call) -> Iterator[None]:
    """Makes InternalErrors of unknown failures; what is our fault is in the log then."""
    try:
        yield
    except InternalError:
        logger.exception("A call failed by a defect", extra={"method": call.method})
        raise
    except (InferwireError, grpc.aio.AbortError):
        raise
    except grpc.aio.InternalError:
        # What gRPC can't send, nobody waits for: it has ended the call, and is about to say so.
        raise asyncio.CancelledError from None
    except Exception:
        logger.exception("A call failed for an unknown reason", extra={"method": call.method})
        raise InternalError("The server failed. The request id finds the reason in its log.") from None


def _limit(call: Call) -> asyncio.Timeout:
    """Ends the call shortly before its caller stops waiting: what it has cost arrives while somebody listens."""
    left_s = call.remaining_s()
    return asyncio.timeout(None if left_s is None else left_s - min(DEADLINE_MARGIN_S, left_s * DEADLINE_MARGIN))


def _draining() -> Draining:
    return Draining("The server is shutting down.", retry_after_s=DRAINING_RETRY_S)


def _log(call: Call, code: grpc.StatusCode, reason: str) -> None:
    """The one record of a call."""
    always = {
        "method": call.method,
        "code": code.name,
        "identity": call.identity,
        "model": call.model,
        "total_s": _rounded(call.elapsed_s()),
        "prompt_tokens": call.prompt_tokens,
        "cached_tokens": call.cached_tokens,
        "completion_tokens": call.completion_tokens,
        "neutralized_spans": call.neutralized_spans,
    }
    where_known = {
        "reasoning_tokens": call.reasoning_tokens or None,
        "reason": reason,
        "queued_s": _rounded(call.queued_s),
        "first_token_s": _rounded(call.first_token_s),
        "stop_reason": call.stop_reason,
        "constraint_outcome": call.constraint_outcome,
        "tool_verdicts": call.tool_verdicts,
        "tool_metadata": call.tool_metadata,
    }
    logger.info(
        "Call", extra=always | {name: value for name, value in where_known.items() if value not in ("", None, [])}
    )


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)


async def _end(
    context: Context, call: Call, error: InferwireError | None, load_reports: LoadReports | None = None
) -> None:
    """Sends the usage, the load where it is told, and the status of a failed call."""
    usage = Usage(
        call.prompt_tokens, call.cached_tokens, call.completion_tokens, call.neutralized_spans, call.reasoning_tokens
    )
    trailing: list[tuple[str, str | bytes]] = [*usage_to_metadata(usage)]
    if load_reports:
        trailing.append((METADATA_KEY, load_to_orca(load_reports.current(), usage)))
    if error is None:
        context.set_trailing_metadata(trailing)
        return
    status = status_from_error(error, call.request_id)
    await context.abort(status.code, status.message, (*trailing, *status.trailing_metadata))


async def _each(read: Read, requests: AsyncIterator[bytes]) -> AsyncIterator[Any]:
    async for data in requests:
        yield read(data)


def _texts(context: Context) -> dict[str, str]:
    return {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}


def _certificate_names(context: Context) -> Sequence[str]:
    """Those of a certificate that TLS has accepted; none without one."""
    return [name.decode(errors="replace") for name in context.auth_context().get(SAN_PROPERTY, ())]
