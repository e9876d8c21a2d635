"""Does each object have the fields that its kind has? By Kubernetes' own schemas, and for others by typed models."""

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import kubernetes_validate
from kubernetes_validate.utils import SchemaNotFoundError
from pydantic import BaseModel, ValidationError

from deploy.check.manifests import Manifest, Manifests, Pod, label_of

# The oldest that the chart names, and a newer one.
KUBERNETES = ("1.30", "1.35")
MODELS = {
    "keda.sh/v1alpha1": "cloudcoil.models.keda.v1alpha1",
    "monitoring.coreos.com/v1": "cloudcoil.models.prometheus_operator.v1",
    "networking.istio.io/v1": "cloudcoil.models.istio.networking.v1",
    "security.istio.io/v1": "cloudcoil.models.istio.security.v1",
}
# No package carries these. Of LeaderWorkerSet at least the pods are checked.
UNCHECKED = ("gateway.networking.k8s.io/v1", "leaderworkerset.x-k8s.io/v1", "policy.linkerd.io/")


def problems(manifests: Manifests) -> Iterator[str]:
    for manifest in manifests.objects:
        version = manifest["apiVersion"]
        if version in MODELS:
            yield from _by_model(manifest, MODELS[version])
        elif not version.startswith(UNCHECKED):
            yield from _by_schema(manifest)
    for pod in manifests.pods():
        yield from _by_schema(_bare_pod(pod))


def unchecked(manifests: Manifests) -> set[str]:
    """The kinds for which there is no schema."""
    return {f"{m['kind']} ({m['apiVersion']})" for m in manifests.objects if m["apiVersion"].startswith(UNCHECKED)}


def _bare_pod(pod: Pod) -> Manifest:
    metadata = {"name": pod.container["name"], "labels": pod.labels}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod.spec}


def _by_schema(manifest: Manifest) -> Iterator[str]:
    for version in KUBERNETES:
        try:
            kubernetes_validate.validate(manifest, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            path = ".".join(str(part) for part in error.path)
            yield f"{label_of(manifest)}: Kubernetes {version}: {path}: {error.message}"
        except SchemaNotFoundError:
            yield f"{label_of(manifest)}: no schema of {manifest['apiVersion']}"


def _by_model(manifest: Manifest, module: str) -> Iterator[str]:
    model: type[BaseModel] = getattr(import_module(module), manifest["kind"])
    try:
        read = model.model_validate(manifest)
    except ValidationError as errors:
        for error in errors.errors():
            yield f"{label_of(manifest)}: {'.'.join(map(str, error['loc']))}: {error['msg']}"
        return
    known = read.model_dump(mode="json", by_alias=True, exclude_unset=True)
    for path in _lost(manifest, known):
        yield f"{label_of(manifest)}: {path}: no such field"


def _lost(given: Any, known: Any, path: str = "") -> Iterator[str]:
    """Where a model has dropped what it doesn't know."""
    if isinstance(given, dict) and isinstance(known, dict):
        for key, value in given.items():
            place = f"{path}.{key}".lstrip(".")
            if key in known:
                yield from _lost(value, known[key], place)
            else:
                yield place
    elif isinstance(given, list) and isinstance(known, list):
        for index, (one, other) in enumerate(zip(given, known, strict=True)):
            yield from _lost(one, other, f"{path}[{index}]")
