"""What an engine tells about itself with every step."""

from typing import Any

from vllm.v1.metrics.loggers import PrometheusStatLogger


class LoadGauge(PrometheusStatLogger):  # type: ignore[misc]
    """Keeps the engine's latest own counts of its requests.

    It stands in for vLLM's Prometheus metrics, which are one set for the whole process: of several models they would
    tell about the last, and two that load at the same moment fail on each other's. Nothing of that class is wanted.
    """

    def __init__(self, vllm_config: Any, engine_indexes: list[int] | None = None) -> None:
        self.running = 0
        self.waiting = 0
        self.cache_usage = 0.0

    def record(self, scheduler_stats: Any, *args: Any, **kwargs: Any) -> None:
        if scheduler_stats is not None:
            self.running = scheduler_stats.num_running_reqs
            self.waiting = scheduler_stats.num_waiting_reqs
            self.cache_usage = scheduler_stats.kv_cache_usage

    def record_admission_rejection(self, reason: str) -> None: ...

    def record_sleep_state(self, sleep: int = 0, level: int = 0) -> None: ...

    def log_engine_initialized(self) -> None: ...


def gauge_of(engine: Any) -> LoadGauge:
    """That of an AsyncLLM which was built with `stat_loggers=[LoadGauge]`."""
    gauges = (logger for logger in engine.logger_manager.stat_loggers if isinstance(logger, LoadGauge))
    return next(gauges)
