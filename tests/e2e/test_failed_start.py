"""A server that can't start says why in a line, and ends with 1."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving import scripted_models, server_process, settings_file


@pytest.fixture
def taken_address() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield f"127.0.0.1:{taken.getsockname()[1]}"


def test_an_address_in_use_is_named(tmp_path: Path, taken_address: str) -> None:
    config = settings_file(tmp_path, scripted_models(), server={"address": taken_address})
    with server_process(tmp_path, "--config", config) as server:
        assert server.wait() == 1
    assert f"Can't listen on {taken_address}" in server.printed() + server.logged()
    assert "Traceback" not in server.printed() + server.logged()


def test_a_file_that_can_not_be_used_is_named(tmp_path: Path) -> None:
    tls = {"certificate": str(tmp_path / "none.pem"), "key": str(tmp_path / "none.key")}
    with server_process(tmp_path, "--config", settings_file(tmp_path, scripted_models(), tls=tls)) as server:
        assert server.wait() == 1
    assert f"error: Can't read {tls['certificate']}" in server.printed()
    assert "Traceback" not in server.printed() + server.logged()


@pytest.mark.real_model
def test_models_that_are_not_there_are_named(tmp_path: Path) -> None:
    models = [{"path": "/no/such/llm"}, {"path": "/no/such/embedder", "type": "embedding"}]
    config = settings_file(tmp_path, models, log={"engine_log": str(tmp_path / "engine.log")})
    with server_process(tmp_path, "--config", config) as server:
        assert server.wait(60) == 1
    shown = server.printed() + server.logged()
    assert "/no/such/llm" in shown or "/no/such/embedder" in shown  # the first to fail ends the other's loading
    assert "Traceback" not in shown
