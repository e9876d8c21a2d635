"""grpc.health.v1: the state of each service and each model, of the server as a whole under the empty name, and of the
process.
"""

from collections.abc import Iterable
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
# SERVING for as long as the process answers: who asks whether to kill a server must not hear that it loads, drains or
# brings an engine back.
LIVENESS = "liveness"


def name_of_model(identifier: str) -> str:
    return f"model/{identifier}"


class Health:
    """Says NOT_SERVING from the first moment on: a server that still loads can't be taken for a ready one."""

    def __init__(self, services: Iterable[str], models: Iterable[str]) -> None:
        self._services = ("", *services)
        self._models = tuple(map(name_of_model, models))
        self._servicers: list[_Servicer] = []

    async def add_to(self, server: grpc.aio.Server, *, tells_models: bool) -> None:
        """Without `tells_models` nobody learns from its health which models the server has."""
        names = (*self._services, *(self._models if tells_models else ()))
        servicer = _Servicer((*names, LIVENESS))
        for name in names:
            await servicer.set(name, NOT_SERVING)
        await servicer.set(LIVENESS, SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
        self._servicers.append(servicer)

    async def set_serving(self, serving: bool) -> None:
        """Of the server as a whole, and of its services, each of which is for all models."""
        for name in self._services:
            await self._set(name, serving)

    async def set_model_serving(self, identifier: str, serving: bool) -> None:
        await self._set(name_of_model(identifier), serving)

    async def set_ending(self) -> None:
        for name in (*self._services, *self._models):
            await self._set(name, False)

    async def _set(self, name: str, serving: bool) -> None:
        for servicer in self._servicers:
            if name in servicer.names:
                await servicer.set(name, SERVING if serving else NOT_SERVING)


class _Servicer(health.aio.HealthServicer):  # type: ignore[misc]
    """The library's, with the one method that it lacks."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__()
        self.names = names

    async def List(self, request: health_pb2.HealthListRequest, context: Any) -> health_pb2.HealthListResponse:
        named = {name: health_pb2.HealthCheckRequest(service=name) for name in self.names}
        return health_pb2.HealthListResponse(
            statuses={name: await self.Check(asked, context) for name, asked in named.items()}
        )
