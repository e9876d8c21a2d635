"""JSON over HTTP, by curl."""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict

from inferwire.v1 import chat_pb2, completion_pb2, embeddings_pb2, models_pb2, preflight_pb2
from tests.mesh.calls import FAILS_ALWAYS, SILENT, Mesh
from tests.programs import program
from tests.serving import EMBEDDER, END_S, LLM

START, PROGRESS, COMPLETE = range(1, 4)
FIVE_TOKENS = {"max_tokens": 5, "min_tokens": 5}


def chat(text: str = "Hi", **sampling: int) -> dict[str, Any]:
    messages = [{"user": {"content": {"text": text}}}]
    return {"model_id": LLM, "messages": messages, "sampling_params": sampling or FIVE_TOKENS}


COMPLETION = {"model_id": LLM, "content": {"text": "Once"}, "sampling_params": FIVE_TOKENS}
EMBEDDINGS = {"model_id": EMBEDDER, "contents": [{"text": "one"}, {"text": "two"}]}
UNARY = {
    "/v1/inference/chat-completion": (chat(), chat_pb2.ChatCompletionResponse),
    "/v1/inference/completion": (COMPLETION, completion_pb2.CompletionResponse),
    "/v1/inference/embeddings": (EMBEDDINGS, embeddings_pb2.EmbeddingsResponse),
    "/v1/inference/preflight": ({"chat_completion": chat()}, preflight_pb2.PreflightResponse),
    "/v1/models": (None, models_pb2.ListModelsResponse),
    f"/v1/models/{LLM}": (None, models_pb2.GetModelResponse),
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What curl got: the status, the headers and behind them the trailers, the body."""

    status: int
    fields: dict[str, str]
    body: str

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def events(self) -> Iterator[Any]:
        """Server-sent ones."""
        for event in self.body.removesuffix("\n\n").split("\n\n"):
            assert event.startswith("data: ")
            yield json.loads(event.removeprefix("data: "))


def curl(mesh: Mesh, path: str, body: Any = None, **headers: str) -> Answer:
    folder = mesh.envoy.access_log.parent
    fields, request = folder / "fields", [] if body is None else ["--json", json.dumps(body)]
    given = [option for name, value in headers.items() for option in ("-H", f"{name.replace('_', '-')}: {value}")]
    done = subprocess.run(
        [program("curl"), "-sS", "--no-buffer", "-D", fields, "-w", "%{stderr}%{http_code}", *identity(mesh)]
        + [*given, *request, f"https://{mesh.envoy.target}{path}"],
        capture_output=True,
        text=True,
        timeout=END_S,
        check=True,
    )
    return Answer(int(done.stderr), fields_in(fields), done.stdout)


def identity(mesh: Mesh) -> list[str | Path]:
    tls = mesh.shop
    assert tls.ca
    assert tls.certificate
    assert tls.key
    return ["--cacert", tls.ca, "--cert", tls.certificate, "--key", tls.key]


def fields_in(file: Path) -> dict[str, str]:
    lines = (line.split(": ", 1) for line in file.read_text().splitlines() if ": " in line)
    return {name.lower(): value for name, value in lines}


@pytest.mark.parametrize("path", UNARY)
def test_a_route_answers_what_its_method_does(mesh: Mesh, path: str) -> None:
    body, kind = UNARY[path]
    answer = curl(mesh, path, body)
    assert answer.status == 200
    assert answer.fields["content-type"] == "application/json"
    assert ParseDict(answer.json, kind()).ByteSize() > 0


@pytest.mark.parametrize(("path", "body"), [("chat-completion", chat()), ("completion", COMPLETION)])
def test_a_stream_is_server_sent_events(mesh: Mesh, path: str, body: Any) -> None:
    answer = curl(mesh, f"/v1/inference/{path}:stream", body)
    assert answer.fields["content-type"] == "text/event-stream"
    start, *progress, complete = answer.events()
    assert [event.get("sequence", "0") for event in (start, *progress, complete)] == list(map(str, range(7)))
    assert complete["usage"]["completion_tokens"] == 5
    assert answer.fields["grpc-status"] == "0"
