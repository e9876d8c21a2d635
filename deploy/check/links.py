"""Does what objects say of each other hold: ports, selectors, targets, and no secrets where everybody reads?"""

from collections.abc import Iterator
from typing import Any

import yaml

from deploy.check.manifests import Manifest, Manifests, Pod, label_of

SECRET_KEYS = {"token", "password"}


def problems(manifests: Manifests) -> Iterator[str]:
    yield from _names(manifests)
    yield from _services(manifests)
    yield from _selectors(manifests)
    yield from _scale_targets(manifests)
    yield from _routes(manifests)
    yield from _monitors(manifests)
    yield from _policies(manifests)
    yield from _no_secrets(manifests)


def _names(manifests: Manifests) -> Iterator[str]:
    """A LeaderWorkerSet makes a headless Service of its own name."""
    for group in manifests.of_kind("LeaderWorkerSet"):
        if manifests.find("Service", group["metadata"]["name"]):
            yield f"{label_of(group)}: a Service has its name"


def _services(manifests: Manifests) -> Iterator[str]:
    for service in manifests.of_kind("Service"):
        pods = manifests.selected(service["spec"]["selector"])
        if not pods:
            yield f"{label_of(service)}: selects no pods"
        for pod in pods:
            yield from _target_ports(service, pod)


def _target_ports(service: Manifest, pod: Pod) -> Iterator[str]:
    if not pod.serves:
        yield f"{label_of(service)}: selects {pod.container['name']}, which answers no calls"
    for port in service["spec"]["ports"]:
        if port["targetPort"] not in pod.port_names:
            yield f"{label_of(service)}: the port {port['targetPort']} is none of the container's"


def _selectors(manifests: Manifests) -> Iterator[str]:
    for manifest in manifests.objects:
        spec = manifest.get("spec", {})
        selector = spec.get("selector") if manifest["kind"] != "Service" else None
        labels = (selector or spec.get("podSelector") or {}).get("matchLabels")
        if manifest["kind"] != "ServiceMonitor" and labels and not manifests.selected(labels):
            yield f"{label_of(manifest)}: selects no pods"


def _scale_targets(manifests: Manifests) -> Iterator[str]:
    for scaler in manifests.of_kind("HorizontalPodAutoscaler", "ScaledObject"):
        target = scaler["spec"]["scaleTargetRef"]
        found = manifests.find(target["kind"], target["name"])
        if found is None or found["apiVersion"] != target["apiVersion"]:
            yield f"{label_of(scaler)}: scales {target['kind']} {target['name']}, which doesn't exist"
        elif "replicas" in found["spec"]:
            yield f"{label_of(scaler)}: {label_of(found)} has replicas of its own"


def _routes(manifests: Manifests) -> Iterator[str]:
    for route in manifests.of_kind("GRPCRoute"):
        for backend in (backend for rule in route["spec"]["rules"] for backend in rule["backendRefs"]):
            service = manifests.find("Service", backend["name"])
            ports = {port["port"] for port in service["spec"]["ports"]} if service else set()
            if backend["port"] not in ports:
                yield f"{label_of(route)}: {backend['name']}:{backend['port']} is no port of a Service"


def _monitors(manifests: Manifests) -> Iterator[str]:
    for monitor in manifests.of_kind("ServiceMonitor"):
        labels = monitor["spec"]["selector"]["matchLabels"]
        services = [s for s in manifests.of_kind("Service") if labels.items() <= s["metadata"]["labels"].items()]
        if len(services) != 1:
            yield f"{label_of(monitor)}: selects {len(services)} Services: metrics would be lost or counted twice"
        for service in services:
            yield from _monitored_ports(monitor, {port["name"] for port in service["spec"]["ports"]})


def _monitored_ports(monitor: Manifest, names: set[str]) -> Iterator[str]:
    for endpoint in monitor["spec"]["endpoints"]:
        if endpoint["port"] not in names:
            yield f"{label_of(monitor)}: the port {endpoint['port']} is none of the Service's"


def _policies(manifests: Manifests) -> Iterator[str]:
    """Ports that policies and the mesh know by name or number."""
    names = {name for pod in manifests.pods() for name in pod.port_names}
    numbers = {str(number) for pod in manifests.pods() for number in pod.port_names.values()}
    for manifest in manifests.of_kind("NetworkPolicy", "Server", "AuthorizationPolicy"):
        for port in _ports_in(manifest):
            if str(port) not in names | numbers:
                yield f"{label_of(manifest)}: the port {port} is none of the container's"


def _ports_in(manifest: Manifest) -> Iterator[Any]:
    spec = manifest["spec"]
    if manifest["kind"] == "Server":
        yield spec["port"]
    for rule in spec.get("ingress", ()):
        yield from (port["port"] for port in rule.get("ports", ()))
    for rule in spec.get("rules", ()):
        for target in rule.get("to", ()):
            yield from target["operation"]["ports"]


def _no_secrets(manifests: Manifests) -> Iterator[str]:
    if any(manifests.of_kind("Secret")):
        yield f"{manifests.name}: has a Secret; its values don't belong into files that are passed around"
    for config in manifests.of_kind("ConfigMap"):
        for name, text in config["data"].items():
            for key in _keys(yaml.safe_load(text)):
                if key in SECRET_KEYS:
                    yield f"{label_of(config)}: {name} has a {key}, which everybody may read"


def _keys(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _keys(item)
    elif isinstance(value, list):
        for item in value:
            yield from _keys(item)
