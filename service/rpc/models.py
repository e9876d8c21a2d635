"""ModelService."""

from inferwire.v1 import model_service_pb2_grpc, models_pb2
from service.engines.registry import Registry
from service.errors import InvalidField
from service.inference.adapters import Adapters
from service.rpc.context import Context
from service.telemetry.calls import current_call
from service.wire.models import model_to_proto, registration_from_proto


class ModelServicer(model_service_pb2_grpc.ModelServiceServicer):
    def __init__(self, registry: Registry, adapters: Adapters) -> None:
        self._registry = registry
        self._adapters = adapters

    async def ListModels(
        self, request: models_pb2.ListModelsRequest, context: Context
    ) -> models_pb2.ListModelsResponse:
        return models_pb2.ListModelsResponse(models=map(model_to_proto, self._registry.models(current_call())))

    async def GetModel(self, request: models_pb2.GetModelRequest, context: Context) -> models_pb2.GetModelResponse:
        if not request.model_id:
            raise InvalidField("model_id", "A value is required.")
        return models_pb2.GetModelResponse(model=model_to_proto(self._registry.model(request.model_id, current_call())))

    async def RegisterModel(
        self, request: models_pb2.RegisterModelRequest, context: Context
    ) -> models_pb2.RegisterModelResponse:
        model = await self._adapters.register(registration_from_proto(request), current_call())
        return models_pb2.RegisterModelResponse(model=model_to_proto(model))

    async def UnregisterModel(
        self, request: models_pb2.UnregisterModelRequest, context: Context
    ) -> models_pb2.UnregisterModelResponse:
        if not request.model_id:
            raise InvalidField("model_id", "A value is required.")
        await self._adapters.unregister(request.model_id, current_call())
        return models_pb2.UnregisterModelResponse()
