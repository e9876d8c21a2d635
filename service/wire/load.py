"""The load of a server and of its models."""

from inferwire.v1 import admin_service_pb2 as pb
from service.api.load import ModelLoad, ServerLoad
from service.wire.fields import each
from service.wire.models import STATE


def server_load_from_proto(message: pb.GetLoadResponse) -> ServerLoad:
    return ServerLoad(
        models=each(message.models, "models", model_load_from_proto),
        in_flight_calls=message.in_flight_calls,
        draining=message.draining,
    )


def server_load_to_proto(load: ServerLoad) -> pb.GetLoadResponse:
    return pb.GetLoadResponse(
        models=map(model_load_to_proto, load.models), in_flight_calls=load.in_flight_calls, draining=load.draining
    )


def model_load_from_proto(message: pb.ModelLoad) -> ModelLoad:
    return ModelLoad(
        model_id=message.model_id,
        running_requests=message.running_requests,
        waiting_requests=message.waiting_requests,
        cache_usage=message.cache_usage,
        waiting_tokens=message.waiting_tokens,
        state=STATE.required_from_proto(message.state, "state"),
        prompt_tokens_total=message.prompt_tokens_total,
        generated_tokens_total=message.generated_tokens_total,
    )


def model_load_to_proto(load: ModelLoad) -> pb.ModelLoad:
    return pb.ModelLoad(
        model_id=load.model_id,
        running_requests=load.running_requests,
        waiting_requests=load.waiting_requests,
        cache_usage=load.cache_usage,
        waiting_tokens=load.waiting_tokens,
        state=STATE.to_proto(load.state),
        prompt_tokens_total=load.prompt_tokens_total,
        generated_tokens_total=load.generated_tokens_total,
    )
