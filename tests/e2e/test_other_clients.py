"""Clients that aren't ours and know the contract only by reflection: grpcurl and buf curl, on the real server."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, TypeVar

import pytest
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message

from inferwire.v1 import chat_pb2, embeddings_pb2, messages_pb2
from tests.e2e.calls import NOT_SERVING, SERVICES, SERVING, health_of
from tests.serving import EMBEDDER, LLM, ServerProcess

pytestmark = pytest.mark.real_model

BIN = Path(sys.executable).parent
Answer = TypeVar("Answer", bound=Message)

INFERENCE = "inferwire.v1.InferenceService"
CHAT = {"modelId": LLM, "messages": [{"user": {"content": {"text": "Hi"}}}], "samplingParams": {"maxTokens": 5}}
EMBED = {"modelId": EMBEDDER, "contents": [{"text": "one"}, {"text": "two"}]}
TWO_SPEAKERS = {
    "modelId": LLM,
    "messages": [{"user": {"content": {"text": "Hi"}}, "system": {"content": {"text": "Hi"}}}],
}


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def grpcurl(server: ServerProcess, *arguments: str, data: Any = None) -> subprocess.CompletedProcess[str]:
    request = [] if data is None else ["-d", json.dumps(data)]
    return run(str(BIN / "grpcurl"), "-plaintext", *request, server.target, *arguments)


def buf_curl(server: ServerProcess, path: str, *options: str, data: Any = None) -> subprocess.CompletedProcess[str]:
    request = [] if data is None else ["-d", json.dumps(data)]
    fixed = ("curl", "--http2-prior-knowledge", "--protocol", "grpc")
    return run(str(BIN / "buf"), *fixed, *options, *request, f"http://{server.target}{path}")


def call(client: str, server: ServerProcess, method: str, data: Any) -> subprocess.CompletedProcess[str]:
    if client == "grpcurl":
        return grpcurl(server, f"{INFERENCE}/{method}", data=data)
    return buf_curl(server, f"/{INFERENCE}/{method}", data=data)


def messages(text: str) -> list[dict[str, Any]]:
    """JSON objects, one behind the other."""
    found = []
    decoder = json.JSONDecoder()
    while text := text.strip():
        message, end = decoder.raw_decode(text)
        found.append(message)
        text = text[end:]
    return found


def answers(client: str, server: ServerProcess, method: str, data: Any, kind: type[Answer]) -> list[Answer]:
    """What a client shows; one spells fields as the contract does, the other as JSON does."""
    result = call(client, server, method, data)
    assert result.returncode == 0, result.stderr
    return [ParseDict(message, kind()) for message in messages(result.stdout)]


clients = pytest.mark.parametrize("client", ["grpcurl", "buf curl"])


def test_grpcurl_lists_the_services(real_server: ServerProcess) -> None:
    listed = grpcurl(real_server, "list").stdout.split()
    assert set(filter(None, SERVICES)) | {"grpc.health.v1.Health"} <= set(listed)


def test_buf_lists_services_and_methods(real_server: ServerProcess) -> None:
    assert INFERENCE in buf_curl(real_server, "", "--list-services").stdout.split()
    listed = buf_curl(real_server, "", "--list-methods").stdout
    for method in ("ChatCompletion", "StreamChatCompletion", "Completion", "StreamCompletion", "Embeddings"):
        assert f"{INFERENCE}/{method}\n" in listed


def test_grpcurl_describes_methods_and_messages(real_server: ServerProcess) -> None:
    described = grpcurl(real_server, "describe", INFERENCE).stdout
    assert "rpc StreamChatCompletion ( .inferwire.v1.ChatCompletionRequest )" in described
    message = grpcurl(real_server, "describe", "inferwire.v1.ChatCompletionRequest").stdout
    assert "repeated .inferwire.v1.Message messages = 2;" in message


@clients
def test_a_chat(real_server: ServerProcess, client: str) -> None:
    [answer] = answers(client, real_server, "ChatCompletion", CHAT, chat_pb2.ChatCompletionResponse)
    assert answer.completion_message.content.text
    assert answer.completion_message.stop_reason == messages_pb2.STOP_REASON_OUT_OF_TOKENS
    assert answer.usage.completion_tokens == 5


@clients
def test_a_streamed_chat(real_server: ServerProcess, client: str) -> None:
    kind = chat_pb2.ChatCompletionResponseStreamChunk
    start, *progress, complete = answers(client, real_server, "StreamChatCompletion", CHAT, kind)
    [whole] = answers(client, real_server, "ChatCompletion", CHAT, chat_pb2.ChatCompletionResponse)
    assert start.event.event_type == chat_pb2.RESPONSE_EVENT_TYPE_START
    assert {chunk.event.event_type for chunk in progress} == {chat_pb2.RESPONSE_EVENT_TYPE_PROGRESS}
    assert complete.event.event_type == chat_pb2.RESPONSE_EVENT_TYPE_COMPLETE
    text = "".join(chunk.event.delta.text.text for chunk in progress)
    assert text == whole.completion_message.content.text


@clients
def test_embeddings(real_server: ServerProcess, client: str) -> None:
    [answer] = answers(client, real_server, "Embeddings", EMBED, embeddings_pb2.EmbeddingsResponse)
    assert [len(embedding.values) for embedding in answer.embeddings] == [384, 384]


# grpcurl itself keeps the later member, so that all the server sees is a conversation without a user.
@pytest.mark.parametrize(("client", "complaint"), [("buf curl", "already set"), ("grpcurl", "not a system message")])
def test_two_members_of_a_oneof_are_refused(real_server: ServerProcess, client: str, complaint: str) -> None:
    result = call(client, real_server, "ChatCompletion", TWO_SPEAKERS)
    assert result.returncode != 0
    assert complaint in result.stderr


@clients
def test_an_error_names_the_field(real_server: ServerProcess, client: str) -> None:
    result = call(client, real_server, "ChatCompletion", {**CHAT, "samplingParams": {"minP": 3}})
    assert result.returncode != 0
    assert "sampling_params.min_p" in result.stderr


async def test_health_is_told_for_each_service(real_server: ServerProcess) -> None:
    for service in SERVICES:
        assert await health_of(real_server.target, service) == SERVING != NOT_SERVING
