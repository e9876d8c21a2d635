"""Every method that a server has: ours, health and reflection."""

from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from inferwire.v1 import admin_service_pb2, inference_service_pb2, model_service_pb2

OURS = (inference_service_pb2, model_service_pb2, admin_service_pb2)
STANDARD = (health_pb2, reflection_pb2)


@dataclass(frozen=True)
class Method:
    """A method, under its own name, which no other service has."""

    descriptor: MethodDescriptor
    ours: bool
    """Whether it is of our contract, and its errors carry the details that the contract promises."""

    @property
    def name(self) -> str:
        return str(self.descriptor.name)

    @property
    def path(self) -> str:
        return f"/{self.descriptor.containing_service.full_name}/{self.name}"

    def request(self, **fields: Any) -> Any:
        return GetMessageClass(self.descriptor.input_type)(**fields)


METHODS: dict[str, Method] = {
    method.name: Method(method, module in OURS)
    for module in (*OURS, *STANDARD)
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
