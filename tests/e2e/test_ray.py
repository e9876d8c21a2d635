"""A model on a Ray cluster of two nodes, here two of this machine's addresses."""

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import pytest

from service.client import Client
from tests.e2e.test_ranks import TEXTS, completed, settings, wait_until_it_serves
from tests.serving import LOAD_S, alive, free_port, server_process, wait_until

pytestmark = [
    pytest.mark.real_model,
    pytest.mark.timeout(8 * LOAD_S),
    pytest.mark.skipif(not find_spec("ray"), reason="Ray is not installed: pip install 'inferwire[ray]'"),
]

END_S = 60
HEAD, OTHER = "127.0.0.1", "127.0.0.2"


@contextmanager
def ray_node(folder: Path, variables: Mapping[str, str], *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """With room for one worker. All of it ends with its first process, which stays in the foreground."""
    room = ["--num-gpus=1", "--num-cpus=1", "--object-store-memory=100000000", "--block", "--disable-usage-stats"]
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", *room, *arguments]
    with (folder / f"node-{len(list(folder.iterdir()))}").open("wb") as log:
        node = subprocess.Popen(
            command, env=os.environ | variables, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            yield node
        finally:
            family = [psutil.Process(node.pid), *psutil.Process(node.pid).children(recursive=True)]
            node.terminate()
            node.wait(END_S)
            for process in alive(family):
                process.kill()


@contextmanager
def cluster(folder: Path) -> Iterator[None]:
    """Whoever is started meanwhile finds it. Ray listens on all addresses, so that it takes a token to get in."""
    variables = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_TMPDIR": str(folder)}
    address = f"{HEAD}:{free_port()}"
    port = address.partition(":")[2]
    (folder / "logs").mkdir()
    with ExitStack() as nodes, pytest.MonkeyPatch.context() as patch:
        for name, value in {**variables, "RAY_ADDRESS": address, "VLLM_HOST_IP": HEAD}.items():
            patch.setenv(name, value)
        start = (f"--node-ip-address={HEAD}", f"--port={port}", "--include-dashboard=false", f"--temp-dir={folder}")
        nodes.enter_context(ray_node(folder / "logs", variables, "--head", *start))
        other = {**variables, "VLLM_HOST_IP": OTHER}
        nodes.enter_context(ray_node(folder / "logs", other, f"--address={address}", f"--node-ip-address={OTHER}"))
        yield


async def test_a_cluster_of_two_nodes_serves(tmp_path: Path) -> None:
    args = {"pipeline_parallel_size": 2, "distributed_executor_backend": "ray"}
    with (
        # The paths of its sockets are long enough by themselves.
        TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder,
        cluster(Path(folder)),
        server_process(tmp_path, "--config", settings(tmp_path, **args)) as server,
    ):
        wait_until_it_serves(server)
        async with Client(server.target) as client:
            assert await completed(client) == TEXTS
        family = server.descendants()
        server.terminate()
        assert server.wait() == 0
        assert wait_until(lambda: not alive(family), END_S), alive(family)
