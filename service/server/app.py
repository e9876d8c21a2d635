"""Joins the rooms: from settings to a running server. Nothing else wires anything."""

import atexit
import gc
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import version

import grpc
import psutil
import uvloop
from grpc_reflection.v1alpha import reflection
from prometheus_client import CollectorRegistry, ProcessCollector

from service.api.models import ModelType
from service.api.response_format import ConstraintOutcome
from service.api.tools import ToolCallVerdict
from service.decoding.compile_check import CompileCheck
from service.engines.adapters.files import AdapterSource
from service.engines.adapters.records import Records, RecordsUnusable
from service.engines.admission import Quotas, Share
from service.engines.base import Engine
from service.engines.registry import Registry
from service.images.network import Network
from service.images.sources import ImageSources
from service.inference.adapters import Adapters
from service.inference.images import Images
from service.rpc import SERVICE_NAMES, add_servicers, load_report_handler
from service.server.auth import Authenticator
from service.server.drain import Drain, DrainTimes
from service.server.health import Health
from service.server.interceptors import CallInterceptor, InFlight
from service.server.lifecycle import Lifecycle
from service.server.load_reports import LoadReports
from service.server.metrics import EngineCollector, MetricsEndpoint, StateCollector
from service.server.operations import Operations
from service.server.progress import Progress
from service.server.start_errors import AddressInUse, UnusableFile
from service.server.tls import server_credentials
from service.settings import EngineKind, ModelSettings, Settings
from service.settings.access import Access
from service.settings.adapters import AdapterSettings
from service.telemetry.metrics import CallMetrics, EngineMetrics, ImageMetrics
from service.telemetry.traces import send_traces

IMPORT_STEP = "import the engines"
HEALTH_NAME = "grpc.health.v1.Health"
# A request a little too large gets an answer that says so; one far too large is cut off by the transport.
TRANSPORT_MARGIN = 4
SERVER_PING_INTERVAL_S = 30


def run(settings: Settings, progress: Progress, ready: Callable[[str], None]) -> int:
    """Serves until a signal or a failure and returns the exit code. `ready` hears the address once all models serve."""
    exit_code: int = uvloop.run(serve(settings, progress, ready))
    return exit_code


async def serve(settings: Settings, progress: Progress, ready: Callable[[str], None]) -> int:
    progress.begin(IMPORT_STEP)
    engines = build_engines(settings)
    progress.done(IMPORT_STEP)
    compile_check = CompileCheck()

    def loaded(address: str) -> None:
        _spare_the_collector()
        ready(address)

    lifecycle = await assemble(settings, engines, compile_check, progress, loaded)
    compile_check.start()
    with _traces(settings.traces.receiver):
        exit_code = await lifecycle.run()
    if not lifecycle.loaded:
        _end_child_processes()
    return exit_code


@contextmanager
def _traces(receiver: str | None) -> Iterator[None]:
    """Sends them as long as the server runs, if anywhere."""
    end = send_traces(receiver, version("inferwire")) if receiver else None
    try:
        yield
    finally:
        if end:
            end()


async def assemble(
    settings: Settings,
    engines: Sequence[Engine],
    compile_check: CompileCheck,
    progress: Progress,
    ready: Callable[[str], None],
    network: Network | None = None,
) -> Lifecycle:
    """A server of these engines that is bound to its address and not started. Raises StartError.

    `network` is where images are fetched from, if not from the real one.
    """
    in_flight = InFlight()
    drain = Drain(DrainTimes(settings.server.drain_window_s, settings.server.grace_s))
    registry = Registry(engines, settings.models, _quotas(settings))
    health = Health(SERVICE_NAMES, [engine.identifier for engine in engines])
    metrics = CollectorRegistry()
    call_metrics = CallMetrics(metrics)
    for engine in engines:
        if engine.model_type is ModelType.LLM:
            _expect(call_metrics, engine.identifier)
    adapters = _adapters(settings.adapters, registry, drain, call_metrics)
    for collector in (StateCollector(registry, engines, in_flight, drain), EngineCollector(engines)):
        metrics.register(collector)
    ProcessCollector(registry=metrics)
    image_sources = ImageSources(settings.limits.max_image_bytes, settings.images.fetch, ImageMetrics(metrics), network)
    load_reports = LoadReports(registry) if settings.server.load_reports else None
    interceptor = CallInterceptor(
        SERVICE_NAMES,
        Authenticator(settings),
        in_flight,
        settings.limits,
        call_metrics,
        load_reports,
        records_texts=settings.traces.texts,
    )
    server = grpc.aio.server(interceptors=[interceptor], options=_channel_options(settings))
    images = Images(image_sources)
    operations = Operations(drain, in_flight, registry)
    add_servicers(server, registry, compile_check, images, adapters, operations, settings.limits)
    if load_reports:
        server.add_generic_rpc_handlers((load_report_handler(load_reports.current),))
    if settings.server.health:
        await health.add_to(server, tells_models=settings.models_known_to_all)
    probes = await _probe_server(settings, health, interceptor)
    if settings.server.reflection:
        served = (*SERVICE_NAMES, *([HEALTH_NAME] if settings.server.health else []), reflection.SERVICE_NAME)
        reflection.enable_server_reflection(served, server)
    return Lifecycle(
        server,
        probes,
        health,
        engines,
        in_flight,
        compile_check,
        image_sources,
        adapters,
        drain,
        settings.engine,
        EngineMetrics(metrics, (engine.identifier for engine in engines)),
        metrics=MetricsEndpoint(settings.metrics.address, metrics) if settings.metrics.address else None,
        address=_bind(server, settings.server.address, server_credentials(settings.tls)),
        progress=progress,
        ready=ready,
    )


def _adapters(settings: AdapterSettings, registry: Registry, drain: Drain, metrics: CallMetrics) -> Adapters:
    """Raises UnusableFile."""
    source = AdapterSource(settings.root, settings.check_base) if settings.root else None
    try:
        records = Records(settings.kept_in) if settings.kept_in else None
    except RecordsUnusable as error:
        raise UnusableFile(str(error)) from error
    return Adapters(
        registry, source, records, draining=lambda: drain.asked, announced=lambda model: _expect(metrics, model)
    )


def _expect(metrics: CallMetrics, language_model: str) -> None:
    metrics.expect([language_model], ConstraintOutcome, ToolCallVerdict)


async def _probe_server(settings: Settings, health: Health, interceptor: CallInterceptor) -> grpc.aio.Server:
    """Listens only where there is an address for it."""
    server = grpc.aio.server(interceptors=[interceptor])
    await health.add_to(server, tells_models=True)
    if settings.server.health_address:
        _bind(server, settings.server.health_address, None)
    return server


def _quotas(settings: Settings) -> Quotas:
    shares = {identity.name: _share(identity) for identity in settings.identities}
    return Quotas(shares, default=_share(settings.anonymous))


def _share(access: Access) -> Share:
    return Share(access.weight, access.max_concurrent_calls, access.tokens_per_minute)


def build_engines(settings: Settings) -> list[Engine]:
    return [_build_engine(model, settings) for model in settings.models]


def _build_engine(model: ModelSettings, settings: Settings) -> Engine:
    # vLLM sets its log up as it is imported; left to itself it writes to standard output, which is ours.
    os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")
    # Imported here because each takes seconds, and only one may be installed or wanted.
    if model.engine is EngineKind.SCRIPTED:
        from service.engines.scripted import build
    else:
        from service.engines.vllm import build
    return build(model, settings)


def _bind(server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials | None) -> str:
    """Returns the address with the port that was really taken."""
    try:
        port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    except RuntimeError:
        port = 0
    if port == 0:
        raise AddressInUse(f"Can't listen on {address}: it is in use, or not an address of this machine.")
    return address if address.startswith("unix:") else f"{address.rpartition(':')[0]}:{port}"


def _channel_options(settings: Settings) -> Sequence[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", TRANSPORT_MARGIN * settings.limits.max_request_bytes),
        ("grpc.max_send_message_length", -1),
        # Two servers must not share a port by accident, each getting half of the calls.
        ("grpc.so_reuseport", 0),
        # A client that waits for a long unary answer pings meanwhile; without these it would be cut off for it.
        ("grpc.http2.max_ping_strikes", 0),
        ("grpc.http2.min_ping_interval_without_data_ms", round(1000 * settings.server.keepalive_min_interval_s)),
        ("grpc.keepalive_permit_without_calls", 1),
        # Finds clients that are gone without a word.
        ("grpc.keepalive_time_ms", 1000 * SERVER_PING_INTERVAL_S),
    ]


def _spare_the_collector() -> None:
    """What is here by now stays. It would go through millions of objects again and again, while calls wait for it."""
    gc.collect()
    gc.freeze()
    # At the end it may: libraries complain on standard error of what was never collected.
    atexit.register(gc.unfreeze)


def _end_child_processes() -> None:
    """Ends what engines have started that were still loading: nothing else can interrupt them."""
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            child.kill()
