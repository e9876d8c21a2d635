"""How the commands that call a server encrypt, and show who calls."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.cli.connection import TOKEN_VARIABLE
from service.server.tls import server_credentials
from service.settings.transport import TlsSettings
from tests.canned_server import CannedServer, running_canned_server
from tests.cli.conftest import Inferwire
from tests.credentials import Authority

TOKEN = "s3cret-0123456789"
COMMANDS = [["chat", "-m", "x"], ["complete", "x"], ["embed", "x"], ["models"], ["top", "--once", "--interval", "0.1"]]
every_command = pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])


@pytest.fixture(autouse=True)
def no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def mutual(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Iterator[CannedServer]:
    """A server whose name is inferwire.example and that wants to see a certificate."""
    certificate, key = authority.issue("server", "inferwire.example")
    credentials = server_credentials(TlsSettings(certificate=certificate, key=key, client_ca=authority.file))
    with running_canned_server(credentials) as canned:
        monkeypatch.setenv("INFERWIRE_TARGET", canned.target)
        yield canned


@pytest.fixture
def token_file(tmp_path: Path) -> str:
    file = tmp_path / "token"
    file.write_text(f"\n {TOKEN} \nan-older-one\n")
    return str(file)


def sent_by(server: CannedServer) -> str | None:
    return server.metadata[-1].get("authorization")


@every_command
def test_by_tls_with_a_certificate(
    inferwire: Inferwire, mutual: CannedServer, authority: Authority, command: list[str]
) -> None:
    certificate, key = authority.issue("client", "search.example")
    own = ["--tls-certificate", str(certificate), "--tls-key", str(key)]
    trusted = ["--tls-ca", str(authority.file), "--tls-server-name", "inferwire.example"]
    assert inferwire(*command, *trusted, *own).exit_code == 0


@pytest.mark.parametrize("missing", ["own", "authority", "name"])
def test_where_a_part_is_missing_no_server_answers(
    inferwire: Inferwire, mutual: CannedServer, authority: Authority, missing: str
) -> None:
    certificate, key = authority.issue("client", "search.example")
    options = {
        "own": ["--tls-certificate", str(certificate), "--tls-key", str(key)],
        "authority": ["--tls-ca", str(authority.file)],
        "name": ["--tls-server-name", "inferwire.example"],
    }
    given = [option for part, pair in options.items() if part != missing for option in pair]
    result = inferwire("models", *given)
    assert (result.exit_code, result.stderr.startswith("error: no server answers")) == (1, True)


def test_half_of_a_certificate(inferwire: Inferwire, authority: Authority) -> None:
    certificate, _ = authority.issue("client", "search.example")
    result = inferwire("models", "--tls-certificate", str(certificate))
    assert (result.exit_code, "only together" in result.output) == (2, True)


def test_a_file_that_is_not_there(inferwire: Inferwire) -> None:
    assert inferwire("models", "--tls-ca", "/no/such/file").exit_code == 2


@pytest.mark.parametrize("command", COMMANDS[:3], ids=lambda command: command[0])
def test_a_token_from_a_file(inferwire: Inferwire, server: CannedServer, token_file: str, command: list[str]) -> None:
    assert inferwire(*command, "--token-file", token_file).exit_code == 0
    assert sent_by(server) == f"Bearer {TOKEN}"


def test_a_token_from_the_environment(
    inferwire: Inferwire, server: CannedServer, token_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, "another\n")
    inferwire("complete", "x")
    assert sent_by(server) == "Bearer another"
    inferwire("complete", "x", "--token-file", token_file)
    assert sent_by(server) == f"Bearer {TOKEN}"


def test_none(inferwire: Inferwire, server: CannedServer) -> None:
    inferwire("complete", "x")
    assert sent_by(server) is None


@pytest.mark.parametrize("content", ["", "\n\n", f"{TOKEN} {TOKEN}", f"{TOKEN}\u00e9", f"{TOKEN}\x00"])
def test_what_is_no_token_is_told_but_not_shown(
    inferwire: Inferwire, server: CannedServer, tmp_path: Path, content: str
) -> None:
    file = tmp_path / "token"
    file.write_text(content)
    result = inferwire("complete", "x", "--token-file", str(file))
    assert (result.exit_code, server.requests) == (2, [])
    assert TOKEN not in result.output


@every_command
def test_no_token_on_the_command_line_nor_in_the_help(
    inferwire: Inferwire, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    assert inferwire(*command, "--token", TOKEN).exit_code == 2
    shown = inferwire(command[0], "--help").output
    assert (TOKEN_VARIABLE in shown, TOKEN in shown) == (True, False)
