"""The Envoy of deploy/envoy in a process of its own: its configuration as it stands there, but for what is filled in.

Filled in are ports, the servers' addresses, and the folder of its files.
"""

import json
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.check.programs import envoy
from deploy.check.proxy import Configuration, with_files_in
from tests.serving import END_S, wait_until

START_S = 60  # bounds a wait
# Clusters of the configuration: the same servers, balanced in two ways.
GENERATION, OTHERS = "generation", "others"

# No other Envoy of this machine is to be replaced by this one, and its access log is read at once.
OPTIONS = ("--disable-hot-restart", "--concurrency", "1", "--file-flush-interval-msec", "20", "--log-level", "warning")


def filled_in(files: Path, servers: Sequence[str]) -> Configuration:
    """The documented configuration, for `servers` (host:port); Envoy takes ports that are free."""
    configuration = with_files_in(files)
    (listener,) = configuration["static_resources"]["listeners"]
    listener["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": 0}
    configuration["admin"]["address"]["socket_address"]["port_value"] = 0
    for cluster in configuration["static_resources"]["clusters"]:
        cluster["load_assignment"]["endpoints"] = [{"lb_endpoints": [_endpoint(server) for server in servers]}]
    return configuration


def _endpoint(server: str) -> dict[str, Any]:
    host, _, port = server.rpartition(":")
    return {"endpoint": {"address": {"socket_address": {"address": host, "port_value": int(port)}}}}


@dataclass(frozen=True, slots=True)
class Envoy:
    """A running one."""

    process: subprocess.Popen[bytes]
    admin: str
    port: int
    access_log: Path

    @property
    def target(self) -> str:
        return f"localhost:{self.port}"

    def stat(self, name: str) -> int:
        """A counter or gauge; 0 as long as nothing was counted."""
        (found, *_) = [*self._json(f"/stats?format=json&filter=^{name}$")["stats"], {"value": 0}]
        return int(found["value"])

    def health(self, server: str, cluster: str = GENERATION) -> Mapping[str, Any]:
        """What Envoy thinks of a server."""
        status: Mapping[str, Any] = self._server(server, cluster)["health_status"]
        return status

    def calls_at(self, server: str, cluster: str = GENERATION) -> int:
        """Calls of a server that are under way."""
        stats = self._server(server, cluster)["stats"]
        return next(int(stat.get("value", 0)) for stat in stats if stat["name"] == "rq_active")

    def _server(self, server: str, cluster: str) -> Any:
        clusters = self._json("/clusters?format=json")["cluster_statuses"]
        known = (host for found in clusters if found["name"] == cluster for host in found["host_statuses"])
        return next(host for host in known if _address(host["address"]) == server)

    def logged(self, request_id: str) -> dict[str, Any]:
        """What the access log says of a call, once it has ended."""
        assert wait_until(lambda: self._found(request_id) is not None, END_S)
        return self._found(request_id) or {}

    def _found(self, request_id: str) -> dict[str, Any] | None:
        *lines, _unfinished = self.access_log.read_text().split("\n")
        return next((json.loads(line) for line in lines if f'"{request_id}"' in line), None)

    def _json(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://{self.admin}{path}", timeout=END_S) as answer:
            return json.load(answer)


def _address(address: Mapping[str, Any]) -> str:
    socket = address["socket_address"]
    return f"{socket['address']}:{socket['port_value']}"


@contextmanager
def running_envoy(folder: Path, files: Path, servers: Sequence[str]) -> Iterator[Envoy]:
    configuration, admin, access_log = folder / "envoy.json", folder / "admin", folder / "access.log"
    configuration.write_text(json.dumps(filled_in(files, servers)))
    command = [envoy(), "-c", configuration, *OPTIONS, "--admin-address-path", admin]
    with access_log.open("wb") as out, (folder / "envoy.log").open("wb") as err:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
    try:
        wait_until(lambda: process.poll() is not None or _listens(admin), START_S)
        assert process.poll() is None, (folder / "envoy.log").read_text()
        yield Envoy(process, admin.read_text(), _port(admin.read_text()), access_log)
    finally:
        process.terminate()
        process.wait(END_S)


def _listens(admin: Path) -> bool:
    return admin.exists() and admin.read_text() != "" and _ready(admin.read_text())


def _ready(admin: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{admin}/ready", timeout=END_S) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _port(admin: str) -> int:
    with urllib.request.urlopen(f"http://{admin}/listeners?format=json", timeout=END_S) as answer:
        (listener,) = json.load(answer)["listener_statuses"]
    port: int = listener["local_address"]["socket_address"]["port_value"]
    return port
