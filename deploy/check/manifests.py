"""What is rendered, and finding one's way in it."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from deploy.check.programs import helm, kubectl, run

DEPLOY = Path(__file__).parents[1]
CHART = DEPLOY / "helm" / "inferwire"
EXAMPLES = tuple(sorted((DEPLOY / "helm" / "examples").glob("*.yaml")))
KUSTOMIZE = DEPLOY / "kustomize"
RELEASE, NAMESPACE = "inferwire", "models"
SERVER = "inferwire"

Manifest = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Pod:
    """A template of pods, with the labels that those will have."""

    owner: str
    labels: Mapping[str, str]
    spec: Mapping[str, Any]

    @property
    def container(self) -> Mapping[str, Any]:
        container: Mapping[str, Any]
        (container,) = self.spec["containers"]
        return container

    @property
    def serves(self) -> bool:
        """Whether it answers calls, unlike the workers of a group."""
        return bool(self.container["name"] == SERVER)

    @property
    def volumes(self) -> dict[str, Mapping[str, Any]]:
        return {volume["name"]: volume for volume in self.spec.get("volumes", ())}

    @property
    def port_names(self) -> dict[str, int]:
        return {port["name"]: port["containerPort"] for port in self.container.get("ports", ())}


@dataclass(frozen=True, slots=True)
class Manifests:
    """All objects of one rendering, which is called `name`."""

    name: str
    objects: Sequence[Manifest] = field(repr=False)

    def of_kind(self, *kinds: str) -> Iterator[Manifest]:
        return (manifest for manifest in self.objects if manifest["kind"] in kinds)

    def find(self, kind: str, name: str) -> Manifest | None:
        return next((found for found in self.of_kind(kind) if found["metadata"]["name"] == name), None)

    def pods(self) -> Iterator[Pod]:
        for deployment in self.of_kind("Deployment"):
            yield _pod(deployment, deployment["spec"]["template"])
        for group in self.of_kind("LeaderWorkerSet"):
            templates = group["spec"]["leaderWorkerTemplate"]
            yield _pod(group, templates["leaderTemplate"])
            yield _pod(group, templates["workerTemplate"])

    def selected(self, labels: Mapping[str, str]) -> list[Pod]:
        return [pod for pod in self.pods() if labels.items() <= pod.labels.items()]

    def copy(self) -> "Manifests":
        return Manifests(self.name, copy.deepcopy(self.objects))


def _pod(owner: Manifest, template: Mapping[str, Any]) -> Pod:
    return Pod(label_of(owner), template["metadata"]["labels"], template["spec"])


def label_of(manifest: Manifest) -> str:
    return f"{manifest['kind']} {manifest['metadata']['name']}"


def rendered_chart(values: Path, *, chart: Path = CHART) -> Manifests:
    """Raises ProgramFailed, also for values that their schema refuses."""
    text = run(helm(), "template", RELEASE, chart, "--namespace", NAMESPACE, "--values", values)
    return Manifests(f"helm {values.stem}", _objects(text))


def rendered_kustomization(folder: Path) -> Manifests:
    """Raises ProgramFailed."""
    text = run(kubectl(), "kustomize", folder)
    return Manifests(f"kustomize {folder.relative_to(KUSTOMIZE)}", _objects(text))


def _objects(text: str) -> list[Manifest]:
    return [manifest for manifest in yaml.safe_load_all(text) if manifest]


def kustomizations() -> list[Path]:
    return sorted(file.parent for file in KUSTOMIZE.rglob("kustomization.yaml"))


def render_all() -> list[Manifests]:
    charts = [rendered_chart(values) for values in EXAMPLES]
    return charts + [rendered_kustomization(folder) for folder in kustomizations()]
