"""What an engine tells about itself with every step."""

from collections.abc import Iterable
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics_core import Metric
from vllm.v1.metrics.loggers import PrometheusStatLogger

# Those of vLLM's classes that make metrics of their own.
PARTS = ("_spec_decoding_cls", "_kv_connector_cls", "_ec_connector_cls", "_perf_metrics_cls")


class LoadGauge(PrometheusStatLogger):  # type: ignore[misc]
    """Keeps the engine's latest own counts of its requests.

    It stands in for vLLM's Prometheus metrics, which are one set for the whole process: of several models they would
    tell about the last, and two that load at the same moment fail on each other's. Nothing of that class is wanted.
    """

    def __init__(self, vllm_config: Any, engine_indexes: list[int] | None = None) -> None:
        # Requests that run, requests that wait, and the share of the cache in use, of each data-parallel rank.
        self._ranks: dict[int, tuple[int, int, float]] = dict.fromkeys(engine_indexes or [0], (0, 0, 0.0))

    @property
    def running(self) -> int:
        return sum(running for running, _, _ in self._ranks.values())

    @property
    def waiting(self) -> int:
        return sum(waiting for _, waiting, _ in self._ranks.values())

    @property
    def cache_usage(self) -> float:
        """Over all ranks: each has a cache of the same size."""
        return sum(usage for _, _, usage in self._ranks.values()) / len(self._ranks)

    def own_metrics(self) -> Iterable[Metric]:
        """vLLM's own, where they are kept."""
        return ()

    def record(self, scheduler_stats: Any, *args: Any, engine_idx: int = 0, **kwargs: Any) -> None:
        if scheduler_stats is not None:
            self._ranks[engine_idx] = (
                scheduler_stats.num_running_reqs,
                scheduler_stats.num_waiting_reqs,
                scheduler_stats.kv_cache_usage,
            )

    def record_admission_rejection(self, reason: str) -> None: ...

    def record_sleep_state(self, sleep: int = 0, level: int = 0) -> None: ...

    def log_engine_initialized(self) -> None: ...


class MetricsGauge(LoadGauge):
    """Keeps vLLM's metrics, too: those of one engine, apart from others'."""

    def __init__(self, vllm_config: Any, engine_indexes: list[int] | None = None) -> None:
        super().__init__(vllm_config, engine_indexes)
        self._registry = CollectorRegistry()
        kinds = {"_gauge_cls": Gauge, "_counter_cls": Counter, "_histogram_cls": Histogram}
        here = {name: partial(kind, registry=self._registry) for name, kind in kinds.items()}
        parts = {name: getattr(PrometheusStatLogger, name) for name in PARTS}
        for name, made in (here | {name: type(part.__name__, (part,), here) for name, part in parts.items()}).items():
            setattr(self, name, made)
        PrometheusStatLogger.__init__(self, vllm_config, engine_indexes)
        PrometheusStatLogger.log_engine_initialized(self)

    def own_metrics(self) -> Iterable[Metric]:
        return self._registry.collect()

    def record(self, *args: Any, **kwargs: Any) -> None:
        super().record(*args, **kwargs)
        PrometheusStatLogger.record(self, *args, **kwargs)

    def record_admission_rejection(self, reason: str) -> None:
        PrometheusStatLogger.record_admission_rejection(self, reason)

    def record_sleep_state(self, sleep: int = 0, level: int = 0) -> None:
        PrometheusStatLogger.record_sleep_state(self, sleep, level)


def gauge_of(engine: Any) -> LoadGauge:
    """That of an AsyncLLM which was built with a LoadGauge."""
    gauges = (logger for logger in engine.logger_manager.stat_loggers if isinstance(logger, LoadGauge))
    return next(gauges)
