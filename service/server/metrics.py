"""What Prometheus scrapes: counts of calls, and how busy the server is at that moment."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication

from prometheus_client import CollectorRegistry, disable_created_metrics, make_wsgi_app, start_http_server
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from service.engines.admission import Admission
from service.engines.base import Engine
from service.engines.registry import Registry
from service.server.drain import Drain
from service.server.interceptors import InFlight
from service.server.start_errors import AddressInUse

LOADS: dict[tuple[str, str], Callable[[Admission], float]] = {
    ("running_requests", "Requests that the engine works on."): lambda a: a.running,
    ("running_requests_limit", "The most requests that the engine works on."): lambda a: a.bounds.running_requests,
    ("queued_requests", "Requests that wait for the engine."): lambda a: a.queued,
    ("queued_requests_limit", "The most requests that wait; further ones are refused."): lambda a: (
        a.bounds.queued_requests
    ),
    ("queued_tokens", "Tokens of requests that wait for the engine."): lambda a: a.queued_tokens,
    ("utilization_ratio", "The work as a share of what has a place; above 1 while some waits."): lambda a: (
        a.utilization
    ),
}


class StateCollector(Collector):
    """Gauges, read when they are asked for."""

    def __init__(self, registry: Registry, engines: Sequence[Engine], in_flight: InFlight, drain: Drain) -> None:
        self._registry = registry
        self._engines = engines
        self._in_flight = in_flight
        self._drain = drain

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("inferwire_calls_in_flight", "Calls under way.", self._in_flight.count)
        yield GaugeMetricFamily("inferwire_draining", "1 once the server was asked to end.", int(self._drain.asked))
        overdue = "Seconds since the last call should have ended; 0 while there is time."
        yield GaugeMetricFamily("inferwire_drain_overdue_seconds", overdue, self._drain.overdue_s)
        up = GaugeMetricFamily("inferwire_engine_up", "1 while the model's engine serves.", labels=["model"])
        for engine in self._engines:
            up.add_metric([engine.identifier], int(engine.ready))
        yield up
        yield from self._loads()

    def _loads(self) -> Iterator[Metric]:
        admissions = self._registry.admissions()
        for (name, text), value in LOADS.items():
            yield _by_model(name, text, {model: value(admission) for model, admission in admissions.items()})
        cache = {load.model_id: load.cache_usage for load in self._registry.loads() if load.model_id in admissions}
        yield _by_model("cache_usage_ratio", "The share of the engine's cache in use.", cache)


def _by_model(name: str, text: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(f"inferwire_{name}", text, labels=["model"])
    for model, value in values.items():
        family.add_metric([model], value)
    return family


class EngineCollector(Collector):
    """What the engines' library counts, of all engines as one set."""

    def __init__(self, engines: Sequence[Engine]) -> None:
        self._engines = engines

    def describe(self) -> Iterable[Metric]:
        """Nothing is known before an engine is loaded."""
        return ()

    def collect(self) -> Iterable[Metric]:
        families: dict[str, Metric] = {}
        for engine in self._engines:
            for family in engine.own_metrics():
                families.setdefault(family.name, Metric(family.name, family.documentation, family.type)).samples.extend(
                    family.samples
                )
        return families.values()


def _in_plain_text(app: WSGIApplication) -> WSGIApplication:
    """Whatever the client would take besides: in OpenMetrics the library's `vllm:` becomes `vllm_`, in samples only
    (https://github.com/prometheus/client_python/issues/1177).
    """

    def answer(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        return app({**environ, "HTTP_ACCEPT": "text/plain"}, start_response)

    return answer


class MetricsEndpoint:
    """Serves `/metrics` over HTTP, from a thread: also while the server is too busy for anything else."""

    def __init__(self, address: str, registry: CollectorRegistry) -> None:
        """Raises AddressInUse."""
        # Prometheus knows when a counter began by its values.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        host, _, port = address.rpartition(":")
        try:
            self._server, self._thread = start_http_server(int(port), host.strip("[]"), registry)
            self._server.set_app(_in_plain_text(make_wsgi_app(registry)))
        except (OSError, OverflowError) as error:
            raise AddressInUse(f"Can't serve metrics on {address}: it is in use, or not of this machine.") from error
        self.address = f"{host}:{self._server.server_port}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
