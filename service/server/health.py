"""grpc.health.v1: the state of each service, of the server as a whole under the empty name, and of the process."""

from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
# SERVING for as long as the process answers: who asks whether to kill a server must not hear that it loads, drains or
# brings an engine back.
LIVENESS = "liveness"


class Health:
    """Says NOT_SERVING from the first moment on: a server that still loads can't be taken for a ready one."""

    def __init__(self, services: tuple[str, ...]) -> None:
        self._names = ("", *services)
        self._servicer = _Servicer((*self._names, LIVENESS))

    async def add_to(self, server: grpc.aio.Server) -> None:
        await self.set_serving(False)
        await self._servicer.set(LIVENESS, SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    async def set_serving(self, serving: bool) -> None:
        for name in self._names:
            await self._servicer.set(name, SERVING if serving else NOT_SERVING)


class _Servicer(health.aio.HealthServicer):  # type: ignore[misc]
    """The library's, with the one method that it lacks."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__()
        self._names = names

    async def List(self, request: health_pb2.HealthListRequest, context: Any) -> health_pb2.HealthListResponse:
        named = {name: health_pb2.HealthCheckRequest(service=name) for name in self._names}
        return health_pb2.HealthListResponse(
            statuses={name: await self.Check(asked, context) for name, asked in named.items()}
        )
