"""TLS on a real socket: what each side refuses, and certificates that are replaced while the server runs."""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives import serialization

from service.api.chat import ChatCompletionRequest
from service.api.messages import UserMessage
from service.client import Client, Tls
from service.engines.scripted import Reply
from service.errors import Unauthenticated
from service.server.start_errors import UnusableFile
from tests.credentials import Authority, replace
from tests.server.serving import LLM, PATIENCE_S, Running, language, running

CHAT = ChatCompletionRequest(model_id=LLM, messages=(UserMessage(content="Hello?"),))
SEARCH = {"name": "search", "sans": ["search.example"]}


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def stranger(tmp_path: Path) -> Authority:
    """An authority that the other side doesn't trust."""
    return Authority(tmp_path, "stranger")


@asynccontextmanager
async def serving(
    authority: Authority, *, mutual: bool = False, reply: str = "Hi.", **settings: Any
) -> AsyncIterator[Running]:
    certificate, key = authority.issue("server", "localhost", "127.0.0.1")
    tls = {"certificate": certificate, "key": key, **({"client_ca": authority.file} if mutual else {})}
    async with running(language(Reply(reply, step_s=0.01)), settings={"tls": tls, **settings}) as served:
        yield served


async def models(served: Running, tls: Tls | None) -> list[str]:
    async with Client(served.address, tls=tls) as client:
        return [model.identifier for model in await client.models(timeout_s=PATIENCE_S)]


async def no_connection(served: Running, tls: Tls | None) -> bool:
    try:
        await models(served, tls)
    except grpc.aio.AioRpcError as failure:
        return failure.code() is grpc.StatusCode.UNAVAILABLE
    return False


async def new_certificate(served: Running) -> str:
    """That of a new connection, in PEM."""
    host, _, port = served.address.rpartition(":")
    return await asyncio.to_thread(ssl.get_server_certificate, (host, int(port)), timeout=PATIENCE_S)


class TestServerCertificate:
    async def test_a_client_that_trusts_its_authority_is_served(self, authority: Authority) -> None:
        async with serving(authority) as served:
            assert await models(served, authority.tls()) == [LLM]
            assert await models(served, authority.tls(server_name="localhost")) == [LLM]

    async def test_one_that_trusts_another_is_not(self, authority: Authority, stranger: Authority) -> None:
        async with serving(authority) as served:
            assert await no_connection(served, stranger.tls())

    async def test_nor_one_that_expects_another_name(self, authority: Authority) -> None:
        async with serving(authority) as served:
            assert await no_connection(served, authority.tls(server_name="other.example"))

    async def test_nor_one_that_does_not_encrypt(self, authority: Authority) -> None:
        async with serving(authority) as served:
            assert await no_connection(served, None)

    async def test_an_expired_one_is_refused_by_clients(self, authority: Authority) -> None:
        certificate, key = authority.issue("server", "127.0.0.1", expired=True)
        async with running(language(), settings={"tls": {"certificate": certificate, "key": key}}) as served:
            assert await no_connection(served, authority.tls())


class TestClientCertificate:
    async def test_its_name_is_that_of_an_identity(
        self, authority: Authority, caplog: pytest.LogCaptureFixture
    ) -> None:
        own = authority.issue("client", "search.example")
        async with serving(authority, mutual=True, identities=[SEARCH]) as served:
            with caplog.at_level(logging.INFO):
                assert await models(served, authority.tls(*own)) == [LLM]
        assert [record.identity for record in caplog.records if record.message == "Call"] == ["search"]  # type: ignore[attr-defined]

    async def test_none_is_no_connection(self, authority: Authority) -> None:
        async with serving(authority, mutual=True, identities=[SEARCH]) as served:
            assert await no_connection(served, authority.tls())

    async def test_nor_is_one_of_another_authority(self, authority: Authority, stranger: Authority) -> None:
        certificate, key = stranger.issue("client", "search.example")
        async with serving(authority, mutual=True, identities=[SEARCH]) as served:
            assert await no_connection(served, Tls(authority.file, certificate, key))

    async def test_nor_one_that_has_expired(self, authority: Authority) -> None:
        own = authority.issue("client", "search.example", expired=True)
        async with serving(authority, mutual=True, identities=[SEARCH]) as served:
            assert await no_connection(served, authority.tls(*own))

    async def test_one_of_nobody_known_is_refused(self, authority: Authority) -> None:
        own = authority.issue("client", "other.example")
        async with serving(authority, mutual=True, identities=[SEARCH]) as served:
            with pytest.raises(Unauthenticated):
                await models(served, authority.tls(*own))

    async def test_unless_anonymous_callers_are_allowed(self, authority: Authority) -> None:
        own = authority.issue("client", "other.example")
        anonymous = {"allowed": True}
        async with serving(authority, mutual=True, identities=[SEARCH], anonymous=anonymous) as served:
            assert await models(served, authority.tls(*own)) == [LLM]

    async def test_without_identities_any_one_of_the_authority_will_do(self, authority: Authority) -> None:
        own = authority.issue("client", "other.example")
        async with serving(authority, mutual=True) as served:
            assert await models(served, authority.tls(*own)) == [LLM]
            assert await no_connection(served, authority.tls())


class TestReload:
    async def test_new_connections_get_the_new_certificate_and_a_stream_under_way_goes_on(
        self, authority: Authority
    ) -> None:
        async with serving(authority, reply="x" * 60) as served, Client(served.address, tls=authority.tls()) as client:
            before = await new_certificate(served)
            events = client.stream_chat(CHAT, timeout_s=PATIENCE_S)
            await anext(events)
            authority.issue("server", "localhost", "127.0.0.1")
            after = await new_certificate(served)
            assert (before != after, after) == (True, (authority.file.parent / "server.pem").read_text())
            assert await models(served, authority.tls()) == [LLM]
            assert len([event async for event in events]) == 61

    async def test_the_authority_of_clients_may_change(self, authority: Authority, stranger: Authority) -> None:
        own = authority.issue("client", "search.example")
        theirs = Tls(authority.file, *stranger.issue("theirs", "search.example"))
        trusted = authority.file.with_name("trusted.pem")
        replace(trusted, stranger.file.read_bytes())
        certificate, key = authority.issue("server", "127.0.0.1")
        tls = {"certificate": certificate, "key": key, "client_ca": trusted}
        async with running(language(), settings={"tls": tls}) as served:
            assert await models(served, theirs) == [LLM]
            replace(trusted, authority.file.read_bytes())
            assert await models(served, authority.tls(*own)) == [LLM]
            assert await no_connection(served, theirs)

    @pytest.mark.parametrize("content", ["", "-----BEGIN CERTIFICATE-----\n", None], ids=["empty", "cut off", "gone"])
    async def test_a_broken_file_leaves_the_old_certificate(
        self, authority: Authority, content: str | None, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with serving(authority) as served:
            before = await new_certificate(served)
            file = authority.file.with_name("server.pem")
            file.unlink() if content is None else file.write_text(content)
            assert [await new_certificate(served) for _ in range(2)] == [before, before]
            [warning] = [record for record in caplog.records if record.levelno == logging.WARNING]
            assert str(file) in warning.getMessage()
            assert "PRIVATE KEY" not in caplog.text

    async def test_so_does_one_that_does_not_fit_the_key_until_that_follows(
        self, authority: Authority, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with serving(authority) as served:
            before = await new_certificate(served)
            certificate, key = authority.issue("next", "127.0.0.1")
            certificate.replace(certificate.with_name("server.pem"))
            assert await new_certificate(served) == before
            assert "are not a certificate and its private key" in caplog.text
            key.replace(key.with_name("server.key"))
            assert await new_certificate(served) != before


class TestStart:
    async def start(self, **tls: Path) -> None:
        async with running(language(), settings={"tls": tls}):
            pass

    async def test_files_that_are_not_there_are_told(self, authority: Authority) -> None:
        certificate, key = authority.issue("server", "127.0.0.1")
        missing = certificate.with_name("none.pem")
        for tls in ({"certificate": missing, "key": key}, {"certificate": certificate, "key": missing}):
            with pytest.raises(UnusableFile, match=f"Can't read {missing}"):
                await self.start(**tls)

    async def test_so_is_a_key_of_another_certificate(self, authority: Authority) -> None:
        certificate, _ = authority.issue("server", "127.0.0.1")
        _, key = authority.issue("other", "127.0.0.1")
        with pytest.raises(UnusableFile, match="not a certificate and its private key"):
            await self.start(certificate=certificate, key=key)

    async def test_so_are_authorities_that_are_none(self, authority: Authority) -> None:
        certificate, key = authority.issue("server", "127.0.0.1")
        with pytest.raises(UnusableFile, match="holds no certificates"):
            await self.start(certificate=certificate, key=key, client_ca=key)

    async def test_a_key_with_a_passphrase_asks_nobody_for_it(self, authority: Authority, tmp_path: Path) -> None:
        certificate, key = authority.issue("server", "127.0.0.1")
        locked = tmp_path / "locked.key"
        locked.write_bytes(with_passphrase(key.read_bytes()))
        with pytest.raises(UnusableFile, match="not a certificate and its private key"):
            await asyncio.wait_for(self.start(certificate=certificate, key=locked), PATIENCE_S)


def with_passphrase(key: bytes) -> bytes:
    loaded = serialization.load_pem_private_key(key, None)
    encryption = serialization.BestAvailableEncryption(b"passphrase")
    return loaded.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
