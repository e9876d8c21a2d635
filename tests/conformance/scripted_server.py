"""The scripted engine behind a real server, in a thread of this process."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import grpc
from prometheus_client import CollectorRegistry

from service.decoding.compile_check import CompileCheck
from service.engines.base import Engine
from service.engines.registry import Registry
from service.images.sources import ImageSources
from service.inference.adapters import Adapters
from service.inference.images import Images
from service.rpc import SERVICE_NAMES, add_servicers
from service.server.auth import Authenticator
from service.server.drain import Drain, DrainTimes
from service.server.interceptors import CallInterceptor, InFlight
from service.server.operations import Operations
from service.settings import Settings
from service.telemetry.metrics import CallMetrics, ImageMetrics


@contextmanager
def scripted_server(engines: Sequence[Engine]) -> Iterator[str]:
    """Serves `engines` and tells where."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="scripted-server")
    thread.start()
    compile_check = CompileCheck()
    try:
        server, target = asyncio.run_coroutine_threadsafe(_start(engines, compile_check), loop).result(30)
        yield target
        asyncio.run_coroutine_threadsafe(server.stop(0), loop).result(30)
        asyncio.run_coroutine_threadsafe(compile_check.close(), loop).result(30)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _start(engines: Sequence[Engine], compile_check: CompileCheck) -> tuple[grpc.aio.Server, str]:
    for engine in engines:
        await engine.start()
    settings, in_flight, registry = Settings(), InFlight(), Registry(engines)
    interceptor = CallInterceptor(
        SERVICE_NAMES, Authenticator(settings), in_flight, settings.limits, CallMetrics(CollectorRegistry())
    )
    server = grpc.aio.server(interceptors=[interceptor])
    operations = Operations(Drain(DrainTimes(0.0, 0.0)), in_flight, registry)
    images = Images(
        ImageSources(settings.limits.max_image_bytes, settings.images.fetch, ImageMetrics(CollectorRegistry()))
    )
    adapters = Adapters(registry, source=None, records=None)
    add_servicers(server, registry, compile_check, images, adapters, operations, settings.limits)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server, f"127.0.0.1:{port}"
