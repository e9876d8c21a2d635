"""The type of what gRPC hands to each method beside the request."""

from typing import Any, TypeAlias

import grpc

# A string: the class takes its parameters only in the eyes of a type checker.
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
