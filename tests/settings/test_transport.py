"""Where the server may listen without TLS, and which TLS settings go together."""

import pytest
from pydantic import ValidationError

from service.settings import Settings, load_settings
from service.settings.transport import ServerSettings, TlsSettings

HERE = [
    "127.0.0.1:1",
    "127.8.9.10:1",
    "localhost:1",
    "[::1]:1",
    "unix:/run/inferwire.sock",
    "unix:///run/inferwire.sock",
    "unix-abstract:inferwire",
]
BEYOND = [
    "0.0.0.0:1",
    "[::]:1",
    ":1",
    "*:1",
    "1",
    "10.0.0.1:1",
    "[2001:db8::1]:1",
    "inferwire.example:1",
    "localhost.example:1",
    "dns:localhost:1",
    "vsock:1:1",
    "127.0.0.1:1,0.0.0.0:1",
]


@pytest.mark.parametrize("address", HERE)
def test_an_address_of_this_machine_needs_no_tls(address: str) -> None:
    assert Settings(server=ServerSettings(address=address)).server.address == address


@pytest.mark.parametrize("address", BEYOND)
def test_any_other_needs_tls_or_a_word_more(address: str) -> None:
    with pytest.raises(ValidationError, match=r"tls\.certificate and tls\.key, or server\.allow_insecure"):
        Settings(server=ServerSettings(address=address))
    tls = TlsSettings.model_validate({"certificate": "a", "key": "b"})
    assert Settings(server=ServerSettings(address=address), tls=tls)
    assert Settings(server=ServerSettings(address=address, allow_insecure=True))


@pytest.mark.parametrize(
    ("tls", "told"),
    [
        ({"certificate": "a"}, "only together"),
        ({"key": "a"}, "only together"),
        ({"client_ca": "a"}, "`client_ca` needs a `certificate`"),
    ],
)
def test_half_of_tls_is_refused(tls: dict[str, str], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        load_settings(None, {"tls": tls})
