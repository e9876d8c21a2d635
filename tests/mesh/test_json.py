"""JSON over HTTP, by curl."""

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from google.rpc import error_details_pb2, status_pb2

from inferwire.v1 import chat_pb2, completion_pb2, embeddings_pb2, models_pb2, preflight_pb2, score_pb2, tokenize_pb2
from tests.e2e.test_readme import console
from tests.mesh.calls import BREAKING, FAILS_ALWAYS, Mesh
from tests.serving import EMBEDDER, END_S, LLM
from tests.toolchains import program

LARGE = 2**20  # what Envoy keeps of a message that it isn't told to keep more of
FIVE_TOKENS = {"max_tokens": 5, "min_tokens": 5}


def chat(text: str = "Hi", model: str = LLM) -> dict[str, Any]:
    messages = [{"user": {"content": {"text": text}}}]
    return {"model_id": model, "messages": messages, "sampling_params": FIVE_TOKENS}


COMPLETION = {"model_id": LLM, "content": {"text": "Once"}, "sampling_params": FIVE_TOKENS}
EMBEDDINGS = {"model_id": EMBEDDER, "contents": [{"text": "one"}, {"text": "two"}]}
UNARY = {
    "/v1/inference/chat-completion": (chat(), chat_pb2.ChatCompletionResponse),
    "/v1/inference/completion": (COMPLETION, completion_pb2.CompletionResponse),
    "/v1/inference/embeddings": (EMBEDDINGS, embeddings_pb2.EmbeddingsResponse),
    "/v1/inference/preflight": ({"chat": chat()}, preflight_pb2.PreflightResponse),
    "/v1/inference/score": (
        {"model_id": EMBEDDER, "pairs": [{"query": "one", "document": "two"}]},
        score_pb2.ScoreResponse,
    ),
    "/v1/inference/rerank": (
        {"model_id": EMBEDDER, "query": "one", "documents": [{"text": "two"}]},
        score_pb2.RerankResponse,
    ),
    "/v1/inference/tokenize": ({"model_id": LLM, "text": {"text": "Hi"}}, tokenize_pb2.TokenizeResponse),
    "/v1/inference/detokenize": ({"model_id": LLM, "token_ids": [7]}, tokenize_pb2.DetokenizeResponse),
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
    fields = mesh.envoy.access_log.with_name("fields")
    command: list[str | Path] = [program("curl"), "-sS", "-D", fields, "-w", "%{stderr}%{http_code}", *identity(mesh)]
    for name, value in headers.items():
        command += ["-H", f"{name.replace('_', '-')}: {value}"]
    if body is not None:
        command += ["--json", "@-"]
    command.append(f"https://{mesh.envoy.target}{path}")
    done = subprocess.run(command, input=json.dumps(body), capture_output=True, text=True, timeout=END_S, check=True)
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
    events = list(answer.events())
    assert [event.get("sequence", "0") for event in events] == list(map(str, range(7)))
    assert events[-1]["usage"]["completion_tokens"] == 5
    assert answer.fields["grpc-status"] == "0"


def test_a_stream_that_breaks_has_no_end_and_says_why_behind_it(mesh: Mesh) -> None:
    answer = curl(mesh, "/v1/inference/chat-completion:stream", chat(model=BREAKING))
    types = [event["event"]["event_type"] for event in answer.events()]
    assert types == ["RESPONSE_EVENT_TYPE_START"] + ["RESPONSE_EVENT_TYPE_PROGRESS"] * 3
    assert answer.fields["grpc-status"] == "14"
    assert answer.fields["grpc-message"] == "The engine was told to fail."


@pytest.mark.parametrize("verb", ["", ":stream"])
def test_a_refusal_is_a_status_of_http_with_all_that_the_server_said(mesh: Mesh, verb: str) -> None:
    answer = curl(mesh, f"/v1/inference/chat-completion{verb}", chat(model="another"))
    assert answer.status == 404
    status = ParseDict(answer.json, status_pb2.Status())
    status.details[0].Unpack(info := error_details_pb2.ErrorInfo())
    assert (status.code, info.reason) == (5, "MODEL_NOT_FOUND")


def test_a_large_request_reaches_the_server(mesh: Mesh) -> None:
    answer = curl(mesh, "/v1/inference/chat-completion", chat("word " * LARGE))
    assert answer.json["details"][0]["reason"] == "CONTEXT_LENGTH_EXCEEDED"


def test_a_large_answer_becomes_json_too(mesh: Mesh) -> None:
    contents = [{"text": str(number)} for number in range(2048)]
    answer = curl(mesh, "/v1/inference/embeddings", EMBEDDINGS | {"contents": contents})
    assert len(answer.json["embeddings"]) == 2048
    assert len(answer.body) > LARGE


def test_who_is_to_try_later_is_told_when_in_the_words_of_http(mesh: Mesh) -> None:
    answer = curl(mesh, "/v1/inference/chat-completion", chat(FAILS_ALWAYS))
    assert answer.status == 503
    assert answer.fields["retry-after"] == "1"
    assert any(detail["@type"].endswith("RetryInfo") for detail in answer.json["details"])


def test_fields_that_envoy_does_not_know_are_lost(mesh: Mesh) -> None:
    """As the README warns; the server never sees them."""
    assert curl(mesh, "/v1/inference/chat-completion", chat() | {"stream": True}).json["usage"]


NO_ROUTES = {
    "a-parameter": ("/v1/models?search=x", 400),
    "a-path": ("/v1/nothing", 404),
    "a-method-without-grpc": ("/inferwire.v1.ModelService/ListModels", 404),
}


@pytest.mark.parametrize("name", NO_ROUTES)
def test_what_is_no_route_reaches_no_server(mesh: Mesh, name: str) -> None:
    path, status = NO_ROUTES[name]
    assert curl(mesh, path, x_request_id=name).status == status
    assert mesh.envoy.logged(name)["server"] is None


def test_a_refusal_is_logged_with_the_status_of_grpc(mesh: Mesh) -> None:
    curl(mesh, "/v1/models/another", x_request_id="a-json-refusal")
    logged = mesh.envoy.logged("a-json-refusal")
    assert (logged["grpc_status"], logged["http_status"], logged["path"]) == (5, 404, "/v1/models/another")


@pytest.mark.parametrize("command", ["curl --cacert", "curl -N --cacert"])
def test_what_the_readme_shows(mesh: Mesh, command: str) -> None:
    """What a model says is another thing: the fields are the same, as far as they are shown."""
    program("curl")
    asked, shown = console(command)
    for name, value in {"https://inferwire.example:8443": f"https://{mesh.envoy.target}", **files_of(mesh)}.items():
        asked = asked.replace(name, value)
    done = subprocess.run(shlex.split(asked), capture_output=True, text=True, timeout=END_S, check=True)
    expected_lines = shown.removesuffix("...\n").splitlines()
    for given, expected in zip(done.stdout.splitlines()[: len(expected_lines)], expected_lines, strict=True):
        keys = re.findall(r'"(\w+)":', expected)
        assert re.findall(r'"(\w+)":', given)[: len(keys)] == keys


def files_of(mesh: Mesh) -> dict[str, str]:
    tls = mesh.shop
    return {" ca.crt ": f" {tls.ca} ", " shop.crt ": f" {tls.certificate} ", " shop.key ": f" {tls.key} "}
