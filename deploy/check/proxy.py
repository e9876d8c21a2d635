"""Envoy's configuration: does Envoy take it, does it fit the chart, and would it notice a drain in time?"""

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import trustme
import yaml

from deploy.check.manifests import DEPLOY, NAMESPACE, Manifests
from deploy.check.programs import ProgramFailed, envoy, run
from service.settings.transport import ServerSettings

CONFIGURATION = DEPLOY / "envoy" / "envoy.yaml"
DESCRIPTORS = DEPLOY.parent / "generated" / "inferwire" / "descriptors.binpb"
# Where the configuration looks for its files, and in which of their folders.
FILES = "/etc/envoy"
SIDES = ("callers", "servers")

Configuration = dict[str, Any]


def problems(manifests: Manifests, file: Path = CONFIGURATION) -> Iterator[str]:
    """`manifests` have the Service that Envoy finds the servers by."""
    yield from _refused(file)
    for cluster in yaml.safe_load(file.read_text())["static_resources"]["clusters"]:
        for problem in (*_unknown_servers(cluster, manifests), *_late_for_drains(cluster)):
            yield f"{file.name}: {cluster['name']}: {problem}"


def with_files_in(folder: Path, file: Path = CONFIGURATION) -> Configuration:
    configuration: Configuration = yaml.safe_load(file.read_text().replace(FILES, str(folder)))
    return configuration


def _refused(file: Path) -> Iterator[str]:
    with TemporaryDirectory() as name:
        folder = Path(name)
        _make_files(folder)
        (filled := folder / "envoy.json").write_text(json.dumps(with_files_in(folder, file)))
        try:
            run(envoy(), "--mode", "validate", "--log-level", "error", "-c", filled)
        except ProgramFailed as failed:
            yield f"{file.name}: {failed}"


def _make_files(folder: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("inferwire.models")
    for side in SIDES:
        (at := folder / side).mkdir()
        authority.cert_pem.write_to_path(str(at / "ca.crt"))
        issued.private_key_pem.write_to_path(str(at / "tls.key"))
        issued.cert_chain_pems[0].write_to_path(str(at / "tls.crt"))
    shutil.copy(DESCRIPTORS, folder)


def _unknown_servers(cluster: Mapping[str, Any], manifests: Manifests) -> Iterator[str]:
    for address in _addresses(cluster):
        name, _, namespace = address["address"].partition(".")
        service = manifests.find("Service", name)
        if service is None or namespace != NAMESPACE:
            yield f"{address['address']} is no Service of the chart"
        elif service["spec"].get("clusterIP") != "None":
            yield f"{address['address']} is one address for all servers"
        elif address["port_value"] not in {port["port"] for port in service["spec"]["ports"]}:
            yield f"{address['address']} has no port {address['port_value']}"


def _addresses(cluster: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for locality in cluster["load_assignment"]["endpoints"]:
        for server in locality["lb_endpoints"]:
            yield server["endpoint"]["address"]["socket_address"]


def _late_for_drains(cluster: Mapping[str, Any]) -> Iterator[str]:
    """A server is asked, and answers, while it still takes calls."""
    window_s = ServerSettings().drain_window_s
    for check in cluster["health_checks"]:
        noticed_s = _seconds(check["interval"]) + _seconds(check["timeout"])
        if noticed_s > window_s:
            yield f"a drain is noticed after {noticed_s} s, and its window is {window_s} s"


def _seconds(duration: str) -> float:
    return float(duration.removesuffix("s"))
