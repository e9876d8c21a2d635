"""What data-parallel ranks tell of themselves, as one engine's."""

from types import SimpleNamespace
from typing import Any

from service.engines.vllm.stats import LoadGauge


def told(running: int, waiting: int, usage: float) -> Any:
    return SimpleNamespace(num_running_reqs=running, num_waiting_reqs=waiting, kv_cache_usage=usage)


def test_ranks_are_added_up_and_their_caches_are_one() -> None:
    gauge = LoadGauge(None, [0, 1])
    gauge.record(told(3, 1, 0.75), None, engine_idx=0)
    assert (gauge.running, gauge.waiting, gauge.cache_usage) == (3, 1, 0.375)
    gauge.record(told(2, 4, 0.25), None, engine_idx=1)
    assert (gauge.running, gauge.waiting, gauge.cache_usage) == (5, 5, 0.5)
    gauge.record(told(0, 0, 0.0), None, engine_idx=0)
    gauge.record(None, None, engine_idx=1)
    assert (gauge.running, gauge.waiting, gauge.cache_usage) == (2, 4, 0.125)


def test_one_rank_is_the_whole() -> None:
    gauge = LoadGauge(None)
    gauge.record(told(3, 1, 0.5), None)
    assert (gauge.running, gauge.waiting, gauge.cache_usage) == (3, 1, 0.5)
