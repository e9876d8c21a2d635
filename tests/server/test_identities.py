"""Identities as callers meet them: who is let in, to which methods and models, and what is told about it where."""

import io
import json
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from service.client import Client
from service.engines.scripted import ScriptedEmbeddingEngine
from service.errors import Unauthenticated
from service.telemetry.logs import LOGGER, configure_logs
from tests.credentials import Authority, Issuer
from tests.server.serving import EMBEDDER, LIMITS, LLM, METHODS, Running, embedder, language, request, running
from tests.server.test_calls import REQUESTS, ask
from tests.server.test_health import SERVING, health, told_by_reflection
from tests.server.test_health import reflection_pb2 as reflection

Code = grpc.StatusCode
SEARCH, ADMIN = "search-token-0123456789", "admin-token-0123456789"
FILED, NEXT = "filed-token-0123456789", "next-token-0123456789"
OTHER = "other"
NOT_IN_THIS_BUILD = {"RegisterModel", "UnregisterModel"}
OF_A_MODEL: dict[str, dict[str, Any]] = {
    **{name: fields for name, fields in REQUESTS.items() if "model_id" in fields},
    "Preflight": {"completion": REQUESTS["Completion"]},
}


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    return Issuer(tmp_path / "keys.json")


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    file = tmp_path / "tokens"
    write_tokens(file, FILED)
    return file


def write_tokens(file: Path, *tokens: str) -> None:
    file.write_text("".join(f"{token}\n" for token in tokens))


@pytest.fixture
def identities(token_file: Path) -> list[dict[str, Any]]:
    return [
        {"name": "search", "token": SEARCH, "models": [OTHER, "emb*"]},
        {"name": "admin", "token": ADMIN, "methods": ["AdminService/*", "ModelService/*"]},
        {"name": "filed", "token_file": token_file, "tokens_per_minute": 1},
        {"name": "staff", "subjects": ["*"]},
    ]


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """All that the server logs, as an operator gets to see it."""
    logger, stream = logging.getLogger(LOGGER), io.StringIO()
    before = logger.handlers, logger.level, logger.propagate
    configure_logs("debug", True, stream)
    yield stream
    logger.handlers, logger.level, logger.propagate = before


@pytest.fixture
async def server(log: io.StringIO, identities: list[dict[str, Any]], issuer: Issuer) -> AsyncIterator[Running]:
    settings = {"identities": identities, "auth": {"jwt": issuer.settings}}
    engines = language(), embedder(), ScriptedEmbeddingEngine(OTHER, LIMITS)
    async with running(*engines, settings=settings) as served:
        yield served


def shown(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def records(log: io.StringIO, message: str = "Call") -> list[dict[str, Any]]:
    return [record for record in map(json.loads, log.getvalue().splitlines()) if record["message"] == message]


class TestCallers:
    @pytest.mark.parametrize(("token", "name"), [(SEARCH, "search"), (ADMIN, "admin"), (FILED, "filed")])
    async def test_a_token_is_an_identity_and_the_log_tells_which(
        self, server: Running, log: io.StringIO, token: str, name: str
    ) -> None:
        await server.answers("ListModels", ask("ListModels"), **shown(token))
        assert [(record["identity"], record["code"]) for record in records(log)] == [(name, "OK")]

    async def test_so_is_a_json_web_token(self, server: Running, log: io.StringIO, issuer: Issuer) -> None:
        await server.answers("ChatCompletion", ask("ChatCompletion"), **shown(issuer.token()))
        assert [record["identity"] for record in records(log)] == ["staff"]

    async def test_the_client_sends_a_token_with_each_call(self, server: Running) -> None:
        tokens = [SEARCH, "wrong", FILED]
        async with Client(server.address, token=lambda: tokens.pop()) as client:
            assert len(await client.models()) == 3
            with pytest.raises(Unauthenticated):
                await client.models()
        async with Client(server.address, token=SEARCH) as client:
            assert len(await client.models()) == 2

    @pytest.mark.parametrize("method", METHODS)
    async def test_without_one_no_method_can_be_called(self, server: Running, method: str) -> None:
        failure = await server.failure(method, request(method))
        assert (failure.code, failure.reason) == (Code.UNAUTHENTICATED, "UNAUTHENTICATED")
        assert failure.message == "The call carries no valid credentials."

    async def test_not_even_to_learn_that_a_request_is_wrong(self, server: Running) -> None:
        for data in (b"\xff", b"\xfa\x7f\x01x", b"x" * (LIMITS.max_request_bytes + 1)):
            assert (await server.failure("ChatCompletion", data)).code is Code.UNAUTHENTICATED
            assert (await server.failure("ChatCompletion", data, **shown(ADMIN))).code is Code.PERMISSION_DENIED
            assert (await server.failure("ChatCompletion", data, **shown(FILED))).code is Code.INVALID_ARGUMENT

    async def test_wrong_tokens_of_all_kinds(self, server: Running, issuer: Issuer) -> None:
        tokens = [
            SEARCH[:-1],
            "",
            issuer.token(exp=1),
            issuer.token(aud="other"),
            issuer.unsigned(),
            issuer.signed_with_the_public_key(),
        ]
        failures = [await server.failure("ListModels", ask("ListModels"), **shown(token)) for token in tokens]
        assert {(failure.code, failure.message) for failure in failures} == {
            (Code.UNAUTHENTICATED, "The call carries no valid credentials.")
        }

    async def test_tokens_are_rotated_while_the_server_runs(
        self, server: Running, token_file: Path, issuer: Issuer
    ) -> None:
        write_tokens(token_file, FILED, NEXT)
        for token in (FILED, NEXT):
            await server.answers("ListModels", ask("ListModels"), **shown(token))
        write_tokens(token_file, NEXT)
        assert (await server.failure("ListModels", ask("ListModels"), **shown(FILED))).code is Code.UNAUTHENTICATED
        old = issuer.token()
        issuer.rotate("key-2")
        await server.answers("ListModels", ask("ListModels"), **shown(issuer.token()))
        assert (await server.failure("ListModels", ask("ListModels"), **shown(old))).code is Code.UNAUTHENTICATED


class TestMethods:
    @pytest.mark.parametrize("method", ["Drain", "GetLoad", "RegisterModel", "UnregisterModel"])
    async def test_administration_is_for_those_who_are_named_for_it(self, server: Running, method: str) -> None:
        failure = await server.failure(method, request(method), **shown(SEARCH))
        assert (failure.code, failure.reason) == (Code.PERMISSION_DENIED, "PERMISSION_DENIED")
        assert f"may not call {METHODS[method].containing_service.name}/{method}" in failure.message

    async def test_and_they_get_it(self, server: Running) -> None:
        for method in ("RegisterModel", "UnregisterModel"):
            failure = await server.failure(method, request(method), **shown(ADMIN))
            assert failure.code not in (Code.PERMISSION_DENIED, Code.UNAUTHENTICATED)
        assert await server.answers("GetLoad", request("GetLoad"), **shown(ADMIN))
        assert await server.answers("Drain", request("Drain"), **shown(ADMIN))

    async def test_who_is_named_for_some_methods_gets_no_others(self, server: Running) -> None:
        for method in ("ChatCompletion", "StreamChatCompletion", "StreamEmbeddings"):
            assert (await server.failure(method, request(method), **shown(ADMIN))).code is Code.PERMISSION_DENIED


class TestModels:
    @pytest.mark.parametrize("method", OF_A_MODEL)
    async def test_a_forbidden_model_is_refused_by_every_method(self, server: Running, method: str) -> None:
        fields = OF_A_MODEL[method] if method == "Preflight" else {**OF_A_MODEL[method], "model_id": LLM}
        failure = await server.failure(method, request(method, **fields), **shown(SEARCH))
        assert (failure.code, failure.reason) == (Code.PERMISSION_DENIED, "PERMISSION_DENIED")
        assert (failure.message, failure.facts) == (
            "The identity 'search' may not use the model 'llm'.",
            {"model": LLM},
        )

    def test_every_method_that_names_a_model_is_among_these(self) -> None:
        named = {name for name, method in METHODS.items() if "model_id" in method.input_type.fields_by_name}
        assert named - NOT_IN_THIS_BUILD <= OF_A_MODEL.keys()

    async def test_an_allowed_one_is_served(self, server: Running) -> None:
        [answer] = await server.answers("Embeddings", ask("Embeddings"), **shown(SEARCH))
        assert answer.model_id == EMBEDDER

    async def test_the_list_holds_the_allowed_ones(self, server: Running) -> None:
        for token, expected in {SEARCH: [EMBEDDER, OTHER], FILED: [LLM, EMBEDDER, OTHER]}.items():
            [answer] = await server.answers("ListModels", ask("ListModels"), **shown(token))
            assert [model.identifier for model in answer.models] == expected


class TestShares:
    async def test_an_identity_is_held_to_its_own_limits(self, server: Running) -> None:
        await server.answers("Embeddings", ask("Embeddings"), **shown(FILED))
        failure = await server.failure("Embeddings", ask("Embeddings"), **shown(FILED))
        assert (failure.code, failure.reason) == (Code.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED")

    async def test_and_not_to_those_of_others(self, server: Running) -> None:
        for token in (FILED, SEARCH, SEARCH):
            await server.answers("Embeddings", ask("Embeddings"), **shown(token))


class TestHealthAndReflection:
    async def test_health_asks_nobody_who_he_is(self, server: Running) -> None:
        assert await health(server) == SERVING

    async def test_reflection_does(self, server: Running) -> None:
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await told_by_reflection(server, reflection.ServerReflectionRequest(list_services=""))
        assert failure.value.code() is Code.UNAUTHENTICATED
        with_token = server.channel.stream_stream(
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
            reflection.ServerReflectionRequest.SerializeToString,
            reflection.ServerReflectionResponse.FromString,
        )([reflection.ServerReflectionRequest(list_services="")], metadata=tuple(shown(ADMIN).items()))
        assert "inferwire.v1.InferenceService" in str(await with_token.read())


async def test_secrets_are_told_nowhere(
    server: Running,
    log: io.StringIO,
    issuer: Issuer,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    secrets = [SEARCH, ADMIN, FILED, SEARCH + "x", issuer.token(), issuer.token(exp=1), issuer.token("nobody" * 9)]
    failures = []
    for token in secrets:
        for method in ("Drain", "GetModel", "ChatCompletion"):
            try:
                await server.answers(method, ask(method) if method in REQUESTS else request(method), **shown(token))
            except grpc.aio.AioRpcError as error:
                failures.append(f"{error!r} {error.trailing_metadata()}")
    captured = capfd.readouterr()
    told = "\n".join([log.getvalue(), caplog.text, captured.out, captured.err, *failures])
    assert len(failures) > len(secrets)
    for token in secrets:
        for part in (token, token.rpartition(".")[2]):
            assert part not in told


async def test_a_call_by_tls_with_a_token(tmp_path: Path, identities: list[dict[str, Any]], issuer: Issuer) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue("server", "127.0.0.1")
    settings = {
        "identities": identities,
        "auth": {"jwt": issuer.settings},
        "tls": {"certificate": certificate, "key": key},
    }
    async with running(language(), settings=settings) as served:
        async with Client(served.address, tls=authority.tls(), token=SEARCH) as client:
            assert await client.models() == ()
            assert await client.is_serving()
        async with Client(served.address, tls=authority.tls()) as client:
            with pytest.raises(Unauthenticated):
                await client.models()
