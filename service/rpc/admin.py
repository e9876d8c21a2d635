"""AdminService."""

from inferwire.v1 import admin_service_pb2, admin_service_pb2_grpc
from service.errors import FeatureNotImplemented
from service.rpc.context import Context


class AdminServicer(admin_service_pb2_grpc.AdminServiceServicer):
    async def Drain(self, request: admin_service_pb2.DrainRequest, context: Context) -> admin_service_pb2.DrainResponse:
        raise FeatureNotImplemented("", "This build doesn't implement Drain yet. Send SIGTERM.")

    async def GetLoad(
        self, request: admin_service_pb2.GetLoadRequest, context: Context
    ) -> admin_service_pb2.GetLoadResponse:
        raise FeatureNotImplemented("", "This build doesn't implement GetLoad yet.")
