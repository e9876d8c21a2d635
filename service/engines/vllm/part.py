"""The ranks of a model on a machine that isn't the first."""

import os

from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.platforms import current_platform
from vllm.usage.usage_lib import UsageContext
from vllm.utils.network_utils import get_tcp_uri
from vllm.v1.engine.utils import CoreEngineProcManager
from vllm.v1.executor import Executor
from vllm.v1.executor.multiproc_executor import MultiprocExecutor

from service.engines import orphan_guard
from service.engines.vllm import defaults, quantization
from service.settings import ModelSettings


def run(model: ModelSettings, node: int) -> None:
    """Builds the ranks of a machine that isn't the first, and returns when one of them has ended."""
    on_cpu = bool(current_platform.is_cpu())
    os.environ.update(defaults.environment(on_cpu=on_cpu, workers=model.layout.workers))
    orphan_guard.install()
    args = quantization.engine_args(model, models=1, on_cpu=on_cpu)
    args.setdefault("served_model_name", model.id)
    args |= model.layout.placed(node)
    config = AsyncEngineArgs(**args).create_engine_config(UsageContext.ENGINE_CONTEXT, headless=True)
    parallel = config.parallel_config
    if parallel.node_rank_within_dp:
        workers = MultiprocExecutor(config, monitor_workers=False)
        workers.start_worker_monitor(inline=True)
        return
    ranks = CoreEngineProcManager(
        local_engine_count=parallel.data_parallel_size_local,
        start_index=parallel.data_parallel_rank,
        local_start_index=0,
        vllm_config=config,
        local_client=False,
        handshake_address=get_tcp_uri(parallel.data_parallel_master_ip, parallel.data_parallel_rpc_port),
        executor_class=Executor.get_class(config),
        log_stats=True,
    )
    ranks.monitor_engine_liveness()
