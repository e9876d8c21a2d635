"""Will the pods start, be asked the right questions, end in time, and be allowed no more than they need?"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

from pydantic import BaseModel, ValidationError

from deploy.check.image import TARGETS, Image, images
from deploy.check.manifests import Manifests, Pod
from service.rpc import SERVICE_NAMES
from service.server.health import LIVENESS
from service.server.lifecycle import LINGER_S
from service.settings import Settings, load_settings

HEALTH_NAMES = ("", *SERVICE_NAMES, LIVENESS)
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
# A leader's address is known only to the pod; the settings take any.
EXAMPLE_ADDRESS = "leader.example"


def problems(manifests: Manifests) -> Iterator[str]:
    for pod in manifests.pods():
        place = f"{pod.owner}, {pod.container['name']}"
        for problem in _problems_of(pod, manifests):
            yield f"{place}: {problem}"


def _problems_of(pod: Pod, manifests: Manifests) -> Iterator[str]:
    yield from _rights(pod)
    yield from _volumes(pod)
    yield from _written_places(pod)
    if not pod.serves:
        yield from _part_of_worker(pod)
        yield from _end_of_worker(pod, manifests)
        return
    try:
        settings = settings_of(pod, manifests)
    except (OSError, ValueError, ValidationError) as error:
        yield f"the server would refuse its settings: {error}"
        return
    yield from _probes(pod, settings)
    yield from _end(pod, settings)
    yield from _ports(pod, settings)
    yield from _files(pod, settings)


def settings_of(pod: Pod, manifests: Manifests) -> Settings:
    """What the server will read: the file that its arguments name, and its variables."""
    arguments = pod.container["args"]
    text = _content(arguments[arguments.index("--config") + 1], pod, manifests)
    with TemporaryDirectory() as folder, patch.dict(os.environ, _variables(pod)):
        file = Path(folder, "inferwire.yaml")
        file.write_text(text)
        settings = load_settings(file)
    if not settings.models:
        raise ValueError("no models to serve")
    return settings


def _content(path: str, pod: Pod, manifests: Manifests) -> str:
    """Of a file that is mounted from a ConfigMap."""
    mount = next((m for m in pod.container["volumeMounts"] if m["mountPath"] == path), None)
    if mount is None:
        raise ValueError(f"nothing is mounted at {path}")
    name = pod.volumes[mount["name"]]["configMap"]["name"]
    found = manifests.find("ConfigMap", name)
    if found is None or mount["subPath"] not in found["data"]:
        raise ValueError(f"the ConfigMap {name} with {mount['subPath']} doesn't exist")
    text: str = found["data"][mount["subPath"]]
    return text


def _variables(pod: Pod) -> dict[str, str]:
    given = {variable["name"]: variable.get("value", "") for variable in pod.container.get("env", ())}
    return {name: value.replace("$(LWS_LEADER_ADDRESS)", EXAMPLE_ADDRESS) for name, value in given.items()}


def _rights(pod: Pod) -> Iterator[str]:
    rights = pod.spec.get("securityContext", {})
    own = pod.container.get("securityContext", {})
    for target in TARGETS:
        user = f"{rights.get('runAsUser')}:{rights.get('runAsGroup')}"
        if user != images()[target].user:
            yield f"runs as {user}, and the image {target} is made for {images()[target].user}"
    if not rights.get("runAsNonRoot"):
        yield "may run as root"
    if rights.get("seccompProfile") != {"type": "RuntimeDefault"}:
        yield "has no profile of system calls"
    if own.get("allowPrivilegeEscalation") is not False or own.get("capabilities") != {"drop": ["ALL"]}:
        yield "may get rights that it doesn't need"
    if not own.get("readOnlyRootFilesystem"):
        yield "may write to its image"
    if pod.spec.get("automountServiceAccountToken") is not False:
        yield "has a token for Kubernetes that it doesn't need"
    if pod.spec.get("enableServiceLinks") is not False:
        yield "has variables of the namespace's services, which may look like settings"


def _volumes(pod: Pod) -> Iterator[str]:
    for name, volume in pod.volumes.items():
        if len(volume) != 2:
            yield f"the volume {name} has {len(volume) - 1} sources"
    for mount in pod.container.get("volumeMounts", ()):
        if mount["name"] not in pod.volumes:
            yield f"mounts {mount['name']}, which is no volume of it"


def _written_places(pod: Pod) -> Iterator[str]:
    for target in TARGETS:
        for place in _env_of(pod, images()[target]).written:
            if not _writable(place, pod):
                yield f"{place} is written to, and is on no volume that can be"


def _env_of(pod: Pod, image: Image) -> Image:
    return Image(env=image.env | _variables(pod))


def _writable(place: PurePosixPath, pod: Pod) -> bool:
    mount = _mount_of(place, pod)
    return mount is not None and not mount.get("readOnly")


def _mount_of(place: PurePosixPath, pod: Pod) -> Mapping[str, Any] | None:
    """The innermost that a place is on."""
    mounts = [m for m in pod.container["volumeMounts"] if place.is_relative_to(m["mountPath"])]
    return max(mounts, key=lambda mount: len(mount["mountPath"]), default=None)


def _probes(pod: Pod, settings: Settings) -> Iterator[str]:
    health_port = _port(settings.server.health_address)
    for name in PROBES:
        probe = pod.container.get(name, {}).get("grpc")
        if probe is None:
            yield f"{name} doesn't ask for health by gRPC"
            continue
        if probe["port"] not in pod.port_names.values():
            yield f"{name} asks on port {probe['port']}, which the container doesn't have"
        if probe["port"] != health_port:
            yield f"{name} asks on port {probe['port']}, and server.health_address is on {health_port}"
        if probe.get("service", "") not in HEALTH_NAMES:
            yield f"{name} asks about {probe['service']!r}, of which the server's health knows nothing"
    liveness = pod.container.get("livenessProbe", {}).get("grpc", {})
    if liveness.get("service") != LIVENESS:
        yield f"livenessProbe has to ask about {LIVENESS!r}, else a server that drains is killed"


def _end(pod: Pod, settings: Settings) -> Iterator[str]:
    needed = _pre_stop_s(pod) + settings.server.drain_window_s + settings.server.grace_s + LINGER_S
    given = pod.spec.get("terminationGracePeriodSeconds", 30)
    if given <= needed:
        yield f"is killed {given} s after its end was asked for, and may need {needed:g} s and more"


def _part_of_worker(pod: Pod) -> Iterator[str]:
    """What `inferwire join` would say to its variables, which are all that it has of settings."""
    try:
        with patch.dict(os.environ, _variables(pod)):
            settings = load_settings()
    except ValidationError as error:
        yield f"`inferwire join` would refuse its settings: {error}"
        return
    if pod.container["args"][0] != "join" or all(model.layout.nodes == 1 for model in settings.models):
        yield "has no part of a model to run"


def _end_of_worker(pod: Pod, manifests: Manifests) -> Iterator[str]:
    """It gets its signal together with the leader, whose calls need it to their end."""
    (leader,) = (other for other in manifests.pods() if other.serves)
    settings = settings_of(leader, manifests)
    needed = _pre_stop_s(leader) + settings.server.drain_window_s + settings.server.grace_s
    if _pre_stop_s(pod) < needed:
        yield f"ends {_pre_stop_s(pod)} s after that was asked for, while its leader's calls may take {needed:g} s"
    if pod.spec.get("terminationGracePeriodSeconds", 30) <= _pre_stop_s(pod):
        yield "is killed before it may end by itself"


def _pre_stop_s(pod: Pod) -> int:
    pause: int = pod.container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    return pause


def _ports(pod: Pod, settings: Settings) -> Iterator[str]:
    for name, address in {"grpc": settings.server.address, "health": settings.server.health_address}.items():
        if pod.port_names.get(name) != _port(address):
            yield f"the port {name} is {pod.port_names.get(name)}, and the server listens on {address}"


def _port(address: str | None) -> int | None:
    return int(address.rpartition(":")[2]) if address else None


def _files(pod: Pod, settings: Settings) -> Iterator[str]:
    for path in _paths_in(settings):
        mount = _mount_of(PurePosixPath(path), pod)
        if mount is None:
            yield f"the settings name {path}, where nothing is mounted"
    log = settings.log.engine_log
    if log and not _writable(PurePosixPath(log), pod):
        yield f"log.engine_log is {log}, which can't be written"
    for model in settings.models:
        if model.path.startswith("/") and _mount_of(PurePosixPath(model.path), pod) is None:
            yield f"the model {model.path} is on no volume"


def _paths_in(section: object) -> Iterator[Path]:
    """Of all files that settings name."""
    if isinstance(section, Path):
        yield section
    elif isinstance(section, BaseModel):
        for name in type(section).model_fields:
            yield from _paths_in(getattr(section, name))
    elif isinstance(section, tuple):
        for item in section:
            yield from _paths_in(item)
