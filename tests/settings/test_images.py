"""The hosts that images may be fetched from."""

from typing import Any

import pytest
from pydantic import ValidationError

from service.settings import Settings, load_settings
from service.settings.images import FetchSettings


def allowed(*hosts: str, **more: Any) -> FetchSettings:
    return FetchSettings(allowed_hosts=hosts, **more)


def test_nothing_is_fetched_unless_it_is_set() -> None:
    assert Settings().images.fetch.allowed_hosts == ()
    assert not FetchSettings().allows("https", "images.example.com", 443)


def test_hosts_may_be_one_text() -> None:
    settings = load_settings(None, {"images": {"fetch": {"allowed_hosts": "A.example.com, *.b.example.com:8443"}}})
    assert settings.images.fetch.allowed_hosts == ("a.example.com", "*.b.example.com:8443")


@pytest.mark.parametrize(
    "host",
    [
        "",
        "*",
        "*.com",
        "*.*.example.com",
        "a.*.example.com",
        "*example.com",
        "localhost",
        "127.0.0.1",
        "10.0.0.0/8",
        "[::1]",
        "2130706433",
        "https://a.example.com",
        "a.example.com/",
        "a.example.com.",
        "a.example.com:",
        "a.example.com:0",
        "a.example.com:65536",
        "me@a.example.com",
        "caf\u00e9.example.com",
        "a_b.example.com",
        "-a.example.com",
        "a..example.com",
    ],
)
def test_what_is_no_host_is_refused(host: str) -> None:
    with pytest.raises(ValidationError):
        allowed("b.example.com", host)


@pytest.mark.parametrize(
    ("entry", "host", "port", "allows"),
    [
        ("a.example.com", "a.example.com", 443, True),
        ("a.example.com", "a.example.com", 8443, False),
        ("a.example.com", "a.example.com", 80, False),
        ("a.example.com", "b.example.com", 443, False),
        ("a.example.com", "x.a.example.com", 443, False),
        ("a.example.com", "xa.example.com", 443, False),
        ("a.example.com:8443", "a.example.com", 8443, True),
        ("a.example.com:8443", "a.example.com", 443, False),
        ("*.example.com", "a.example.com", 443, True),
        ("*.example.com", "a.b.example.com", 443, True),
        ("*.example.com", "example.com", 443, False),
        ("*.example.com", "aexample.com", 443, False),
        ("*.example.com", "a.example.com", 8443, False),
        ("*.example.com:8443", "a.example.com", 8443, True),
    ],
)
def test_a_host_is_allowed_with_its_port(entry: str, host: str, port: int, *, allows: bool) -> None:
    assert allowed("other.example.com", entry).allows("https", host, port) is allows
    assert not allowed(entry).allows("http", host, port)


def test_http_has_its_own_port() -> None:
    rules = allowed("a.example.com", "b.example.com:8080", allow_http=True)
    assert rules.allows("http", "a.example.com", 80)
    assert not rules.allows("http", "a.example.com", 443)
    assert not rules.allows("https", "a.example.com", 80)
    assert rules.allows("http", "b.example.com", 8080)
    assert not rules.allows("file", "a.example.com", 443)


def test_http_without_hosts_is_a_mistake() -> None:
    with pytest.raises(ValidationError, match="allows nothing without"):
        FetchSettings(allow_http=True)
