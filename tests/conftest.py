"""What tests of several folders share: the server with the bundled models, loaded once."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.otlp_receiver import Receiver, otlp_receiver
from tests.serving import LOAD_S, ServerProcess, bundled_models, free_port, server_process, settings_file

TEST_S = 300

# The machine may be busy: a timing never decides a test.
settings.register_profile("inferwire", deadline=None)
settings.load_profile("inferwire")


@pytest.fixture(scope="session")
def traces() -> Iterator[Receiver]:
    """What `real_server` sends, texts included."""
    with otlp_receiver() as receiver:
        yield receiver


@pytest.fixture(scope="session")
def metrics_address() -> str:
    """Where `real_server` tells its metrics."""
    return f"127.0.0.1:{free_port()}"


@pytest.fixture(scope="session")
def real_server(
    tmp_path_factory: pytest.TempPathFactory, traces: Receiver, metrics_address: str
) -> Iterator[ServerProcess]:
    """Serves both bundled models, and MiniLM once more as a Matryoshka model. Not to be stopped by a test."""
    folder = tmp_path_factory.mktemp("real-server")
    observed = {"traces": {"endpoint": traces.address, "texts": True}, "metrics": {"address": metrics_address}}
    config = settings_file(folder, bundled_models(matryoshka=True), **observed)
    with server_process(folder, "--config", config) as server:
        server.wait_until_serving()
        yield server


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of real models may also have to wait for the server."""
    for item in items:
        if item.get_closest_marker("real_model") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(LOAD_S + TEST_S))
