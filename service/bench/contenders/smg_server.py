"""vLLM's gRPC server, made of smg-grpc-servicer. It tells token ids, no text."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import grpc

from service.bench.contenders.base import Contender, Running, measured_here
from service.bench.contenders.processes import free_port, process, until_ready
from service.bench.contenders.vllm_options import tuning
from service.bench.timing import Figures, Mark, Prepare, Send, streams_at_once
from service.bench.workloads import Ask, Workload

MODULE = "vllm.entrypoints.launchers.grpc_server"
GENERATE = "/vllm.grpc.engine.VllmEngine/Generate"


class SmgServer(Contender[Workload, Figures]):
    """With Inferwire's settings of the engine."""

    name = "vLLM's gRPC server (smg)"

    def takes(self, workload: Workload) -> bool:
        """It knows of no chats."""
        return not workload.tool_schema

    async def get_ready(self, model: Path) -> None:
        await asyncio.to_thread(tuning, model)

    @asynccontextmanager
    async def running(self, model: Path, log: Path) -> AsyncIterator[Running[Workload, Figures]]:
        from smg_grpc_proto import vllm_engine_pb2 as pb
        from smg_grpc_proto import vllm_engine_pb2_grpc as stubs

        address = f"127.0.0.1:{free_port()}"
        arguments = ["-m", MODULE, *tuning(model).options, "--host", "127.0.0.1", "--port", address.rpartition(":")[2]]
        async with (
            process(arguments, log, tuning(model).environment) as started,
            grpc.aio.insecure_channel(address) as channel,
        ):
            stub = stubs.VllmEngineStub(channel)

            async def is_ready() -> bool:
                try:
                    return bool((await stub.HealthCheck(pb.HealthCheckRequest())).healthy)
                except grpc.aio.AioRpcError:
                    return False

            await until_ready(started, log, is_ready)
            yield measured_here(partial(streams_at_once, _preparer(channel, pb)), started.pid)


def _preparer(channel: grpc.aio.Channel, pb: Any) -> Prepare:
    generate: Any = channel.unary_stream(GENERATE, response_deserializer=pb.GenerateResponse.FromString)

    def prepare(ask: Ask) -> Send:
        request = _request(ask, pb).SerializeToString()

        async def send(mark: Mark) -> int:
            tokens = 0
            async for message in generate(request):
                if message.HasField("chunk"):
                    # Of this message alone, and the same in the last one, which repeats what came before it.
                    tokens += message.chunk.completion_tokens
                    mark()
            return tokens

        return send

    return prepare


def _request(ask: Ask, pb: Any) -> Any:
    params = pb.SamplingParams(
        temperature=0.0,
        top_p=1.0,
        repetition_penalty=1.0,
        n=1,
        max_tokens=ask.tokens,
        min_tokens=0 if ask.is_constrained else ask.tokens,
        ignore_eos=not ask.is_constrained,
        json_schema=ask.json_schema,
    )
    return pb.GenerateRequest(request_id=uuid.uuid4().hex, text=ask.prompt, sampling_params=params, stream=True)
