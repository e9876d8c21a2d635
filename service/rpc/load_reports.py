"""Load reports beside the calls: the OpenRcaService of ORCA, which balancers keep a stream open to."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc

from service.api.load import LoadReport
from service.rpc.context import Context
from service.wire.orca import LoadReportRequest, interval_from_orca, load_to_orca

SERVICE = "xds.service.orca.v3.OpenRcaService"
SHORTEST_INTERVAL_S = 1.0


def load_report_handler(current: Callable[[], LoadReport]) -> grpc.GenericRpcHandler:
    """The service, for a server to add."""

    async def stream(request: Any, context: Context) -> AsyncIterator[LoadReport]:
        interval_s = max(SHORTEST_INTERVAL_S, interval_from_orca(request))
        while True:
            yield current()
            await asyncio.sleep(interval_s)

    method = grpc.unary_stream_rpc_method_handler(stream, LoadReportRequest.FromString, load_to_orca)
    return grpc.method_handlers_generic_handler(SERVICE, {"StreamCoreMetrics": method})
