"""The platform that lets Ray's workers run on CPUs: there where Ray is, and only there."""

import pytest
from vllm.platforms.cpu import CpuPlatform

from service.engines import ray_platform


def test_without_ray_the_platform_stays_vllms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_platform, "find_spec", lambda name: None)
    assert ray_platform.plugin() is None


@pytest.mark.parametrize(("on_cpu", "name"), [("CpuPlatform", ray_platform.NAME), (None, None)])
def test_with_ray_it_is_ours_on_cpus_only(
    monkeypatch: pytest.MonkeyPatch, on_cpu: str | None, name: str | None
) -> None:
    monkeypatch.setattr(ray_platform, "find_spec", lambda name: object())
    monkeypatch.setattr(ray_platform, "cpu_platform_plugin", lambda: on_cpu)
    assert ray_platform.plugin() == name


def test_it_is_found_by_its_name() -> None:
    module, _, name = ray_platform.NAME.rpartition(".")
    assert (module, name) == (ray_platform.__name__, ray_platform.RayCpuPlatform.__name__)
    assert issubclass(ray_platform.RayCpuPlatform, CpuPlatform)
