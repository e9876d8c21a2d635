"""Builds the clients of examples/clients as their READMEs say, outside the source tree."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.toolchains import do_without, need

ROOT = Path(__file__).parents[2]
CLIENTS = ROOT / "examples" / "clients"
BIN = Path(sys.executable).parent
BUILD_S = 600  # bounds a wait: two cores that others use too
GO_PACKAGES = "/usr/share/gocode/src"


@dataclass(frozen=True)
class Command:
    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, *more: str) -> "Command":
        return Command((*self.arguments, *more), self.environment)


@dataclass(frozen=True)
class Language:
    """`build` takes the folder of the protos and one to build in, and returns how the client is started."""

    name: str
    needs: tuple[str, ...]
    build: Callable[[Path, Path], Command]

    def built(self, folder: Path) -> Command:
        """In `folder` what hasn't changed since the last time need not be built again."""
        need(*self.needs)
        protos = folder / "protos"
        run(sys.executable, str(ROOT / "protos" / "export"), str(protos))
        build = folder / self.name
        build.mkdir(exist_ok=True)
        return self.build(protos, build)


def run(*command: str, cwd: Path = ROOT, **environment: str) -> str:
    """What it prints."""
    done = attempt(*command, cwd=cwd, **environment)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def attempt(*command: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=cwd,
        env=surroundings(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=BUILD_S,
        check=False,
    )


def surroundings(more: Mapping[str, str]) -> dict[str, str]:
    """An environment in which nothing of this project is importable by its path."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | dict(more)


def build_python(_protos: Path, build: Path) -> Command:
    """A virtual environment with the stubs alone."""
    run_uv("build", "--wheel", "generated", "--out-dir", str(build / "dist"))
    python = build / "venv" / "bin" / "python"
    run_uv("venv", "--clear", "--python", sys.executable, str(build / "venv"))
    [wheel] = (build / "dist").glob("inferwire_stubs-*.whl")
    wanted = (f"{wheel}[types]", "--refresh-package", "inferwire-stubs")
    run_uv("pip", "install", "--python", str(python), "-c", "deploy/constraints-cpu.txt", *wanted)
    return Command((str(python), str(CLIENTS / "python" / "tour.py")))


def run_uv(*arguments: str) -> str:
    # As deploy/install does.
    return run(str(BIN / "uv"), "--quiet", *arguments, UV_SYSTEM_CERTS=os.environ.get("UV_SYSTEM_CERTS", "true"))


def build_node(protos: Path, build: Path) -> Command:
    made_by_hand = shutil.ignore_patterns("node_modules", "gen", "build")
    shutil.copytree(CLIENTS / "node", build, ignore=made_by_hand, dirs_exist_ok=True)
    installed = attempt("npm", "ci", "--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund", cwd=build)
    if installed.returncode:
        do_without(f"npm can't install what the lock file names: {installed.stderr[-400:]}")
    run("npm", "run", "generate", cwd=build, PROTOS=str(protos))
    run("npm", "run", "build", cwd=build)
    return Command(("node", str(build / "build" / "tour.js")))


def make(language: str, protos: Path, build: Path, target: str, *variables: str) -> str:
    return run(
        "make", "--silent", "-C", str(CLIENTS / language), f"PROTOS={protos}", f"BUILD={build}", *variables, target
    )


def build_java(protos: Path, build: Path) -> Command:
    make("java", protos, build, "all")
    return Command(("java", "-cp", make("java", protos, build, "classpath").strip(), "Tour"))


def build_go(protos: Path, build: Path) -> Command:
    make("go", protos, build, "all")
    return Command((str(build / "tour"),), {"GRPC_GO_RETRY": "on"})


def build_cpp(protos: Path, build: Path) -> Command:
    # Neither optimised nor for debuggers: it compiles in half of the time.
    run("cmake", "-S", str(CLIENTS / "cpp"), "-B", str(build), f"-DPROTOS={protos}", "-DCMAKE_CXX_FLAGS=-O0 -g0")
    run("cmake", "--build", str(build), "--parallel", "2")
    return Command((str(build / "tour"),))


PYTHON = Language("python", (), build_python)
NODE = Language("node", ("npm", "protoc"), build_node)
LANGUAGES = (
    PYTHON,
    NODE,
    Language("java", ("javac", "make", "protoc", "grpc_java_plugin", "/usr/share/java/grpc-netty.jar"), build_java),
    Language(
        "go",
        (
            "go",
            "make",
            "protoc",
            "protoc-gen-go",
            "protoc-gen-go-grpc",
            f"{GO_PACKAGES}/google.golang.org/grpc",
            f"{GO_PACKAGES}/github.com/golang/protobuf/proto/registry.go",
        ),
        build_go,
    ),
    Language(
        "cpp",
        ("cmake", "c++", "pkg-config", "protoc", "grpc_cpp_plugin", "/usr/include/grpcpp", "/usr/include/nlohmann"),
        build_cpp,
    ),
)
