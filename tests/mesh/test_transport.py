"""Who may connect to whom, and who is calling as servers see it."""

from pathlib import Path

import grpc
import pytest

from inferwire.v1 import admin_service_pb2, admin_service_pb2_grpc, model_service_pb2_grpc, models_pb2
from service.client import Client, Tls
from tests.canned_server import running_canned_server
from tests.credentials import Authority
from tests.e2e.calls import chat
from tests.mesh.calls import CALLER_KEY, HEALTHY, NOTICED_S, SHOP, WEB_TOKEN, Mesh
from tests.mesh.proxy import GENERATION, OTHERS, running_envoy
from tests.serving import END_S, wait_until

SERVERS_NAME = [("grpc.ssl_target_name_override", "inferwire.models"), ("grpc.enable_retries", 0)]
AS_SHOP = (CALLER_KEY, SHOP)
WITH_TOKEN = ("authorization", f"Bearer {WEB_TOKEN}")


async def outcome(channel: grpc.aio.Channel, *metadata: tuple[str, str]) -> grpc.StatusCode:
    """How a call for the models ends."""
    stub = model_service_pb2_grpc.ModelServiceStub(channel)  # type: ignore[no-untyped-call]
    try:
        await stub.ListModels(models_pb2.ListModelsRequest(), metadata=metadata, timeout=END_S)
    except grpc.aio.AioRpcError as failure:
        return failure.code()
    return grpc.StatusCode.OK


async def outcome_at_a_server(mesh: Mesh, tls: Tls, *metadata: tuple[str, str]) -> grpc.StatusCode:
    """Without Envoy."""
    target = mesh.fleet.servers[0].target
    async with grpc.aio.secure_channel(target, tls.credentials(), options=SERVERS_NAME) as channel:
        return await outcome(channel, *metadata)


async def test_a_caller_is_who_its_certificate_says(mesh: Mesh) -> None:
    async with mesh.channel() as channel:
        await Client.over(channel).chat(chat(tokens=1), request_id="by-certificate")
    assert [record["identity"] for record in mesh.fleet.records("by-certificate")] == ["shop"]
    assert mesh.envoy.logged("by-certificate")["caller"] == SHOP


async def test_a_caller_without_one_is_who_its_token_says(mesh: Mesh) -> None:
    async with mesh.channel(mesh.nobody) as channel:
        assert await outcome(channel, WITH_TOKEN, ("x-request-id", "by-token")) is grpc.StatusCode.OK
        assert await outcome(channel) is grpc.StatusCode.UNAUTHENTICATED
    assert [record["identity"] for record in mesh.fleet.records("by-token")] == ["web"]


async def test_nobody_can_say_to_be_another(mesh: Mesh) -> None:
    async with mesh.channel(mesh.nobody) as channel:
        assert await outcome(channel, AS_SHOP) is grpc.StatusCode.UNAUTHENTICATED
        assert await outcome(channel, AS_SHOP, AS_SHOP) is grpc.StatusCode.UNAUTHENTICATED


async def test_a_certificate_of_another_authority_is_refused(mesh: Mesh, tmp_path: Path) -> None:
    stranger = Authority(tmp_path)
    certificate, key = stranger.issue_workload("shop", SHOP)
    async with mesh.channel(Tls(mesh.nobody.ca, certificate, key)) as channel:
        assert await outcome(channel, WITH_TOKEN) is grpc.StatusCode.UNAVAILABLE


async def test_servers_talk_to_envoy_only(mesh: Mesh, authorities: dict[str, Authority], files: Path) -> None:
    servers = authorities["servers"].file
    envoy = Tls(servers, files / "servers" / "tls.crt", files / "servers" / "tls.key")
    assert await outcome_at_a_server(mesh, envoy, AS_SHOP) is grpc.StatusCode.OK
    for other in (Tls(servers), Tls(servers, mesh.shop.certificate, mesh.shop.key)):
        assert await outcome_at_a_server(mesh, other, AS_SHOP) is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize(
    ("authority", "name", "why"),
    [("callers", "inferwire.models", "fail_verify_error"), ("servers", "another.models", "fail_verify_san")],
)
def test_envoy_talks_to_servers_of_their_authority_and_name_only(
    authorities: dict[str, Authority], files: Path, tmp_path: Path, authority: str, name: str, why: str
) -> None:
    certificate, key = authorities[authority].issue("impostor", name)
    credentials = grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())])
    with running_canned_server(credentials) as impostor, running_envoy(tmp_path, files, [impostor.target]) as envoy:
        for cluster in (GENERATION, OTHERS):
            assert wait_until(lambda cluster=cluster: envoy.stat(f"cluster.{cluster}.ssl.{why}") > 0, NOTICED_S)
            assert envoy.health(impostor.target, cluster) != HEALTHY


async def test_operators_do_not_call_whichever_server_comes_first(mesh: Mesh) -> None:
    async with mesh.channel() as channel:
        stub = admin_service_pb2_grpc.AdminServiceStub(channel)  # type: ignore[no-untyped-call]
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await stub.Drain(admin_service_pb2.DrainRequest(), metadata=(("x-request-id", "drain"),), timeout=END_S)
    assert failed.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert mesh.envoy.logged("drain")["server"] is None
    assert mesh.fleet.records("drain") == []
