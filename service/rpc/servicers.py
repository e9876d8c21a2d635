"""All servicers, for the server to add."""

import grpc

from inferwire.v1 import (
    admin_service_pb2,
    admin_service_pb2_grpc,
    inference_service_pb2,
    inference_service_pb2_grpc,
    model_service_pb2,
    model_service_pb2_grpc,
)
from service.decoding.compile_check import CompileCheck
from service.engines.registry import Registry
from service.inference.adapters import Adapters
from service.inference.bulk_embeddings import BulkEmbeddings
from service.inference.chat import Chat
from service.inference.completion import Completion
from service.inference.embeddings import Embeddings
from service.inference.images import Images
from service.inference.preflight import Preflight
from service.inference.scoring import Scoring
from service.inference.tokenize import Tokenize
from service.rpc.admin import AdminServicer, Operations
from service.rpc.inference import InferenceServicer
from service.rpc.models import ModelServicer
from service.settings import LimitSettings

SERVICE_NAMES = tuple(
    service.full_name
    for module in (inference_service_pb2, model_service_pb2, admin_service_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
)


def add_servicers(
    server: grpc.aio.Server,
    registry: Registry,
    compile_check: CompileCheck,
    images: Images,
    adapters: Adapters,
    operations: Operations,
    limits: LimitSettings,
) -> None:
    inference = InferenceServicer(
        Chat(registry, compile_check, images),
        Completion(registry, compile_check, images),
        Embeddings(registry),
        BulkEmbeddings(registry, limits),
        Preflight(registry, compile_check, images),
        Scoring(registry),
        Tokenize(registry, compile_check),
    )
    inference_service_pb2_grpc.add_InferenceServiceServicer_to_server(inference, server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelServicer(registry, adapters), server)
    admin_service_pb2_grpc.add_AdminServiceServicer_to_server(AdminServicer(operations), server)
