"""What Envoy's access log says of a call, and that the servers' own records are found by the same id."""

from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from service.client import Client
from service.errors import InferwireError
from tests.e2e.calls import chat
from tests.mesh.calls import BREAKING, SHOP, Mesh
from tests.serving import LLM

Chat = Callable[[Client, str, str], Awaitable[None]]


async def unary(client: Client, model: str, request_id: str) -> None:
    await client.chat(chat(tokens=5).model_copy(update={"model_id": model}), request_id=request_id)


async def streamed(client: Client, model: str, request_id: str) -> None:
    request = chat(tokens=5).model_copy(update={"model_id": model})
    async for _ in client.stream_chat(request, request_id=request_id):
        pass


CALLS: dict[str, tuple[Chat, str, int, str, str | None]] = {
    "a-chat": (unary, LLM, 0, "OK", "5"),
    "a-stream": (streamed, LLM, 0, "OK", "5"),
    "a-refusal": (unary, "another", 5, "NOT_FOUND", None),
    "a-refused-stream": (streamed, "another", 5, "NOT_FOUND", None),
    "a-broken-stream": (streamed, BREAKING, 14, "UNAVAILABLE", "3"),
}


@pytest.mark.parametrize("name", CALLS)
async def test_a_call_is_logged_with_its_grpc_status(mesh: Mesh, name: str) -> None:
    call, model, status, code, tokens = CALLS[name]
    async with mesh.channel() as channel:
        with suppress(InferwireError):
            await call(Client.over(channel), model, name)
    logged = mesh.envoy.logged(name)
    assert (logged["grpc_status"], logged["completion_tokens"]) == (status, tokens)
    assert (logged["caller"], logged["attempts"], logged["http_status"]) == (SHOP, 1, 200)
    assert logged["path"] == f"/inferwire.v1.InferenceService/{'Chat' if call is unary else 'StreamChat'}Completion"
    assert logged["server"] in {server.target for server in mesh.fleet.servers}
    (record,) = mesh.fleet.records(name)
    assert record["code"] == code
