"""AdminService."""

from typing import Protocol

from google.protobuf.duration_pb2 import Duration

from inferwire.v1 import admin_service_pb2, admin_service_pb2_grpc
from service.api.load import ServerLoad
from service.errors import InvalidField
from service.rpc.context import Context
from service.wire.fields import maybe
from service.wire.load import server_load_to_proto
from service.wire.usage import check_span, seconds_from_proto


class Operations(Protocol):
    """What the process around the calls can do; server.operations does it."""

    @property
    def in_flight(self) -> int: ...

    def drain(self, window_s: float | None, budget_s: float | None) -> None: ...

    def load(self) -> ServerLoad: ...


class AdminServicer(admin_service_pb2_grpc.AdminServiceServicer):
    def __init__(self, operations: Operations) -> None:
        self._operations = operations

    async def Drain(self, request: admin_service_pb2.DrainRequest, context: Context) -> admin_service_pb2.DrainResponse:
        window_s, budget_s = _seconds(request, "withdrawal_window"), _seconds(request, "budget")
        self._operations.drain(window_s, budget_s)
        return admin_service_pb2.DrainResponse(in_flight_calls=self._operations.in_flight)

    async def GetLoad(
        self, request: admin_service_pb2.GetLoadRequest, context: Context
    ) -> admin_service_pb2.GetLoadResponse:
        return server_load_to_proto(self._operations.load())


def _seconds(request: admin_service_pb2.DrainRequest, field: str) -> float | None:
    seconds: float | None = maybe(request, field, _not_negative)
    return seconds


def _not_negative(duration: Duration) -> float:
    check_span(duration)
    seconds = seconds_from_proto(duration)
    if seconds < 0:
        raise InvalidField("", "It can't be negative.")
    return seconds
