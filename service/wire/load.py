"""The load of models."""

from inferwire.v1 import admin_service_pb2 as pb
from service.api.load import ModelLoad


def model_load_from_proto(message: pb.ModelLoad) -> ModelLoad:
    return ModelLoad(
        model_id=message.model_id,
        running_requests=message.running_requests,
        waiting_requests=message.waiting_requests,
        cache_usage=message.cache_usage,
        waiting_tokens=message.waiting_tokens,
    )


def model_load_to_proto(load: ModelLoad) -> pb.ModelLoad:
    return pb.ModelLoad(
        model_id=load.model_id,
        running_requests=load.running_requests,
        waiting_requests=load.waiting_requests,
        cache_usage=load.cache_usage,
        waiting_tokens=load.waiting_tokens,
    )
