"""Who gets the next call."""

from inferwire.v1 import inference_service_pb2_grpc
from service.client import Client
from tests.mesh.calls import ENDLESS, Mesh, connect, seen, under_way


async def test_short_calls_go_in_turn(mesh: Mesh) -> None:
    ids = [f"in-turn-{number}" for number in range(10)]
    async with mesh.channel() as channel:
        for request_id in ids:
            await Client.over(channel).models(request_id=request_id)
    served = [mesh.envoy.logged(request_id)["server"] for request_id in ids]
    assert set(served) == {server.target for server in mesh.fleet.servers}
    assert served[::2] == served[:1] * 5
    assert served[1::2] == served[1:2] * 5


async def test_generation_takes_the_place_of_what_has_ended(mesh: Mesh) -> None:
    await connect(mesh)
    async with mesh.channel() as channel:
        stub = inference_service_pb2_grpc.InferenceServiceStub(channel)  # type: ignore[no-untyped-call]
        calls = [stub.StreamChatCompletion(ENDLESS) for _ in range(8)]
        assert await seen(lambda: under_way(mesh) == [4, 4])
        # Every other one: had they been given out in turn, these would have been at one server.
        for call in calls[::2]:
            call.cancel()
            assert await seen(lambda: under_way(mesh) == [3, 4])
            calls.append(stub.StreamChatCompletion(ENDLESS))
            assert await seen(lambda: sum(under_way(mesh)) == 8)
            assert under_way(mesh) == [4, 4]
