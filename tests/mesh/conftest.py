"""Two servers and Envoy, once for all tests of the mesh. A test that takes something away puts it back."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.check.proxy import DESCRIPTORS
from tests.credentials import Authority
from tests.mesh.calls import CALLER_KEY, FAILURES, IDENTITIES, SHOP, Fleet, Mesh
from tests.mesh.proxy import running_envoy
from tests.serving import LOAD_S

TEST_S = 120


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whichever test comes first waits for both servers, and one of them for a third."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.timeout(2 * LOAD_S + TEST_S))


@pytest.fixture(scope="session")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Authority]:
    """Of callers, of servers, and of Envoy alone, by which servers know it."""
    folder = tmp_path_factory.mktemp("authorities")
    return {name: Authority(folder, name) for name in ("callers", "servers", "envoy")}


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory, authorities: dict[str, Authority]) -> Path:
    """The folder that stands for /etc/envoy."""
    folder = tmp_path_factory.mktemp("envoy-files")
    callers, servers, envoy = (authorities[name] for name in ("callers", "servers", "envoy"))
    _put(folder / "callers", callers, callers.issue("gateway", "localhost", "inferwire.example"))
    _put(folder / "servers", servers, envoy.issue("envoy", "gateway.models"))
    shutil.copy(DESCRIPTORS, folder)
    return folder


def _put(folder: Path, trusted: Authority, own: tuple[Path, Path]) -> None:
    folder.mkdir()
    for file, name in zip((trusted.file, *own), ("ca.crt", "tls.crt", "tls.key"), strict=True):
        shutil.copy(file, folder / name)


@pytest.fixture(scope="session")
def mesh(tmp_path_factory: pytest.TempPathFactory, authorities: dict[str, Authority], files: Path) -> Iterator[Mesh]:
    folder = tmp_path_factory.mktemp("mesh")
    certificate, key = authorities["servers"].issue("server", "inferwire.models")
    settings = {
        "tls": {"certificate": str(certificate), "key": str(key), "client_ca": str(authorities["envoy"].file)},
        "auth": {"metadata_key": CALLER_KEY},
        "identities": IDENTITIES,
    }
    callers = authorities["callers"]
    with (
        Fleet(folder, settings, FAILURES) as fleet,
        running_envoy(folder, files, [server.target for server in fleet.servers]) as envoy,
    ):
        shop = callers.tls(*callers.issue_workload("shop", SHOP))
        mesh = Mesh(fleet, envoy, shop, nobody=callers.tls())
        mesh.wait_until_all_serve()
        yield mesh
