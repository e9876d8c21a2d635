"""What tests of several folders share: the server with the bundled models, loaded once."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.serving import LOAD_S, ServerProcess, bundled_models, server_process, settings_file

TEST_S = 300

# The machine may be busy: a timing never decides a test.
settings.register_profile("inferwire", deadline=None)
settings.load_profile("inferwire")


@pytest.fixture(scope="session")
def real_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Serves both bundled models, and MiniLM once more as a Matryoshka model. Not to be stopped by a test."""
    folder = tmp_path_factory.mktemp("real-server")
    with server_process(folder, "--config", settings_file(folder, bundled_models(matryoshka=True))) as server:
        server.wait_until_serving()
        yield server


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of real models may also have to wait for the server."""
    for item in items:
        if item.get_closest_marker("real_model") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(LOAD_S + TEST_S))
