"""What the server tells about itself before, while and after it serves."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from service.rpc import SERVICE_NAMES
from service.server.health import LIVENESS, name_of_model
from service.server.start_errors import AddressInUse
from tests.credentials import Authority
from tests.server.serving import EMBEDDER, LLM, Failure, Running, answers, call, language, request, running
from tests.server.slow_engines import SlowToLoad

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
NAMES = ("", *SERVICE_NAMES)


async def health(served: Running, name: str = "") -> int:
    stub = health_pb2_grpc.HealthStub(served.channel)
    return (await stub.Check(health_pb2.HealthCheckRequest(service=name))).status


@pytest.mark.parametrize("name", NAMES)
async def test_every_service_is_healthy_once_the_models_are_loaded(name: str) -> None:
    engine = SlowToLoad()
    async with running(engine, wait=False) as served:
        assert await health(served, name) == NOT_SERVING
        engine.let_load.set()
        await asyncio.wait_for(served.ready.wait(), 5)
        assert await health(served, name) == SERVING


async def test_warming_up_is_a_part_of_loading() -> None:
    engine = SlowToLoad()
    engine.let_load.set()
    engine.let_warm_up.clear()
    async with running(engine, wait=False) as served:
        assert await health(served) == NOT_SERVING
        assert not served.ready.is_set()


async def test_one_model_that_loads_keeps_the_others_waiting() -> None:
    async with running(language(), SlowToLoad("other"), wait=False) as served:
        assert await health(served) == NOT_SERVING


async def test_the_address_is_told_once_all_models_serve(server: Running) -> None:
    assert server.told_addresses == [server.address]
    assert server.address.startswith("127.0.0.1:")
    assert not server.address.endswith(":0")


async def test_a_call_while_a_model_loads_is_asked_to_come_again() -> None:
    async with running(SlowToLoad(), wait=False) as served:
        ask = request("Completion", model_id=LLM, content={"text": "Once"})
        failure = await served.failure("Completion", ask)
        assert (failure.code.name, failure.reason) == ("UNAVAILABLE", "MODEL_NOT_READY")
        assert int(failure.trailing["grpc-retry-pushback-ms"]) > 0
        (answer,) = await served.answers("ListModels", request("ListModels"))
        assert [model.identifier for model in answer.models] == [LLM]


async def test_all_services_are_told_at_once(server: Running) -> None:
    listed = await health_pb2_grpc.HealthStub(server.channel).List(health_pb2.HealthListRequest())
    names = (*NAMES, *map(name_of_model, (LLM, EMBEDDER)), LIVENESS)
    assert {name: told.status for name, told in listed.statuses.items()} == dict.fromkeys(names, SERVING)


async def test_an_unknown_service_is_not_found(server: Running) -> None:
    with pytest.raises(Exception, match="NOT_FOUND"):
        await health(server, "unknown")


@pytest.mark.parametrize("method", ["Check", "List", "Watch"])
async def test_a_question_that_cannot_be_read_is_refused(server: Running, method: str) -> None:
    kind = server.channel.unary_stream if method == "Watch" else server.channel.unary_unary
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await answers(kind(f"/grpc.health.v1.Health/{method}")(b"\xff"))
    failure = Failure.of(failed.value)
    assert (failure.code.name, failure.reason) == ("INVALID_ARGUMENT", "MALFORMED_MESSAGE")


async def test_a_question_to_reflection_that_cannot_be_read_is_refused(server: Running) -> None:
    path = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await answers(server.channel.stream_stream(path)([b"\xff"]))
    failure = Failure.of(failed.value)
    assert (failure.code.name, failure.reason) == ("INVALID_ARGUMENT", "MALFORMED_MESSAGE")


async def test_someone_who_watches_hears_of_the_end() -> None:
    async with running(language()) as served:
        stub = health_pb2_grpc.HealthStub(served.channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest(service=""))
        assert (await watch.read()).status == SERVING
        served.stop()
        assert (await watch.read()).status == NOT_SERVING


async def told_by_reflection(served: Running, ask: reflection_pb2.ServerReflectionRequest) -> object:
    async def one() -> AsyncIterator[reflection_pb2.ServerReflectionRequest]:
        yield ask

    stub = reflection_pb2_grpc.ServerReflectionStub(served.channel)
    return await anext(aiter(stub.ServerReflectionInfo(one())))


async def test_reflection_tells_every_service(server: Running) -> None:
    answer = await told_by_reflection(server, reflection_pb2.ServerReflectionRequest(list_services=""))
    names = {service.name for service in answer.list_services_response.service}
    assert names == {*SERVICE_NAMES, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}


async def test_reflection_tells_the_contract(server: Running) -> None:
    ask = reflection_pb2.ServerReflectionRequest(file_containing_symbol="inferwire.v1.InferenceService")
    answer = await told_by_reflection(server, ask)
    files = [FileDescriptorProto.FromString(f) for f in answer.file_descriptor_response.file_descriptor_proto]
    assert "inferwire/v1/inference_service.proto" in {file.name for file in files}


async def test_reflection_can_be_switched_off() -> None:
    async with running(language(), reflection=False) as served:
        with pytest.raises(Exception, match="UNIMPLEMENTED"):
            await told_by_reflection(served, reflection_pb2.ServerReflectionRequest(list_services=""))


async def test_health_can_be_switched_off() -> None:
    async with running(language(), health=False) as served:
        with pytest.raises(Exception, match="UNIMPLEMENTED"):
            await health(served)


async def test_probes_have_an_address_of_their_own_without_tls(tmp_path: Path) -> None:
    probes = f"unix:{tmp_path}/probes"
    certificate, key = Authority(tmp_path).issue("server", "localhost")
    tls, identities = {"certificate": certificate, "key": key}, [{"name": "search", "token": "t"}]
    engine = SlowToLoad()
    settings = {"tls": tls, "identities": identities}
    async with (
        running(engine, wait=False, settings=settings, health_address=probes) as served,
        grpc.aio.insecure_channel(probes) as channel,
    ):
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=""))
        assert (await watch.read()).status == NOT_SERVING
        engine.let_load.set()
        assert (await watch.read()).status == SERVING
        with pytest.raises(grpc.aio.AioRpcError, match="UNIMPLEMENTED"):
            await answers(call(channel, "ListModels", request("ListModels")))
        with pytest.raises(grpc.aio.AioRpcError, match="INVALID_ARGUMENT"):
            await channel.unary_unary("/grpc.health.v1.Health/Check")(b"\xff")
        served.stop()
        assert (await watch.read()).status == NOT_SERVING
        await served.exit_code()


async def test_the_process_is_alive_while_it_loads_and_to_the_end(tmp_path: Path) -> None:
    probes = f"unix:{tmp_path}/probes"
    engine = SlowToLoad()
    async with (
        running(engine, wait=False, health_address=probes) as served,
        grpc.aio.insecure_channel(probes) as channel,
    ):
        stub, alive = health_pb2_grpc.HealthStub(channel), health_pb2.HealthCheckRequest(service=LIVENESS)
        assert (await stub.Check(alive)).status == SERVING
        assert (await stub.Check(health_pb2.HealthCheckRequest())).status == NOT_SERVING
        engine.let_load.set()
        await asyncio.wait_for(served.ready.wait(), 5)
        watch = stub.Watch(alive)
        assert (await watch.read()).status == SERVING
        served.stop()
        with pytest.raises(grpc.aio.AioRpcError, match="UNAVAILABLE"):
            await watch.read()
        await served.exit_code()


async def test_an_address_in_use_is_told() -> None:
    async with running(language()) as served:
        with pytest.raises(AddressInUse, match=served.address):
            async with running(language(), address=served.address):
                pass


async def test_an_address_of_another_machine_is_told() -> None:
    with pytest.raises(AddressInUse, match=r"192\.0\.2\.1:1"):
        async with running(language(), address="192.0.2.1:1", allow_insecure=True):
            pass


async def test_a_unix_socket_is_an_address(tmp_path: object) -> None:
    address = f"unix:{tmp_path}/s"
    async with running(language(), address=address) as served:
        assert served.told_addresses == [address]
        assert await health(served) == SERVING
