"""vLLM's gRPC server, made of smg-grpc-servicer. It tells token ids, no text."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import psutil

from service.bench.contenders.base import Running, RunningServer, free_port, process, until_ready
from service.bench.contenders.vllm_options import command_line, environment
from service.bench.timing import Mark, Send
from service.bench.workloads import Ask

MODULE = "vllm.entrypoints.launchers.grpc_server"


class SmgServer:
    """With Inferwire's settings of the engine."""

    name = "vLLM's gRPC server (smg)"
    constrains = True

    @asynccontextmanager
    async def running(self, model: Path, log: Path) -> AsyncIterator[Running]:
        from smg_grpc_proto import vllm_engine_pb2 as pb
        from smg_grpc_proto import vllm_engine_pb2_grpc as stubs

        address = f"127.0.0.1:{free_port()}"
        arguments = ["-m", MODULE, *command_line(model), "--host", "127.0.0.1", "--port", address.rpartition(":")[2]]
        async with process(arguments, log, environment()) as started, grpc.aio.insecure_channel(address) as channel:
            stub = stubs.VllmEngineStub(channel)

            async def is_ready() -> bool:
                try:
                    return bool((await stub.HealthCheck(pb.HealthCheckRequest())).healthy)
                except grpc.aio.AioRpcError:
                    return False

            await until_ready(started, log, is_ready)
            yield RunningServer(psutil.Process(started.pid), _sender(stub, pb))


def _sender(stub: Any, pb: Any) -> Send:
    async def send(ask: Ask, mark: Mark) -> int:
        tokens = 0
        async for message in stub.Generate(_request(ask, pb)):
            if message.HasField("complete"):
                tokens = message.complete.completion_tokens
            else:
                mark()
        return tokens

    return send


def _request(ask: Ask, pb: Any) -> Any:
    params = pb.SamplingParams(
        temperature=0.0,
        top_p=1.0,
        repetition_penalty=1.0,
        n=1,
        max_tokens=ask.tokens,
        min_tokens=0 if ask.json_schema else ask.tokens,
        ignore_eos=not ask.json_schema,
        json_schema=ask.json_schema,
    )
    return pb.GenerateRequest(request_id=uuid.uuid4().hex, text=ask.prompt, sampling_params=params, stream=True)
