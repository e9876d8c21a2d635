"""Servers in processes of their own, as operators run them: `python -m service serve ...`."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import psutil
import yaml

from service.demo_models import default_cache_dir, prepare_embedding_model, prepare_language_model

LLM = "smollm2-135m-instruct"
EMBEDDER = "all-minilm-l6-v2"
MATRYOSHKA = "minilm-matryoshka"

SCRIPTED_PROCESS = str(Path(__file__).with_name("scripted_process.py"))
READY_LINE = "serving on "
LOAD_S = 240  # bounds a wait: two cores that others use too, each engine importing for 15 s
END_S = 60
POLL_S = 0.1


class ServerProcess:
    """A server in a session of its own, with what it prints in files."""

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        command: Sequence[str] = ("-m", "service"),
        subcommand: str = "serve",
    ) -> None:
        self.stdout, self.stderr = folder / "stdout", folder / "stderr"
        with self.stdout.open("w") as out, self.stderr.open("w") as err:
            self.process = subprocess.Popen(
                [sys.executable, *command, subcommand, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
                env=without_settings(os.environ),
            )
        self.pid = self.process.pid

    @property
    def target(self) -> str:
        """Where it listens, once it serves."""
        return self.printed().split(READY_LINE)[1].splitlines()[0]

    def printed(self) -> str:
        return self.stdout.read_text()

    def logged(self) -> str:
        return self.stderr.read_text()

    def wait_until_serving(self, timeout_s: float = LOAD_S) -> None:
        wait_until(lambda: READY_LINE in self.printed() or self.process.poll() is not None, timeout_s)
        assert READY_LINE in self.printed(), f"{self.printed()}\n{self.logged()[-4000:]}"

    def descendants(self) -> list[psutil.Process]:
        return psutil.Process(self.pid).children(recursive=True)

    def engine_processes(self) -> list[psutil.Process]:
        """Those of engines, also while they still start and have no name of their own."""
        return [p for p in self.descendants() if any(mark in _command_of(p) for mark in ("EngineCore", "spawn_main"))]

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def wait(self, timeout_s: float = END_S) -> int:
        """The exit code."""
        return self.process.wait(timeout_s)

    def end(self) -> None:
        """Whatever state it is in. Its engines end with it."""
        if self.process.poll() is None:
            self.terminate()
            try:
                self.wait()
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


@contextmanager
def server_process(folder: Path, *arguments: str, **options: Any) -> Iterator[ServerProcess]:
    server = ServerProcess(folder, *arguments, **options)
    try:
        yield server
    finally:
        server.end()


def bundled_models(*, matryoshka: bool = False) -> list[dict[str, Any]]:
    """The entries of `models` for a settings file; the last one is MiniLM, told that its vectors may be cut."""
    cache = default_cache_dir()
    embedder = str(prepare_embedding_model(cache))
    models: list[dict[str, Any]] = [
        {"path": str(prepare_language_model(cache)), "id": LLM},
        {"path": embedder, "id": EMBEDDER, "type": "embedding"},
    ]
    if matryoshka:
        overrides = {"hf_overrides": {"is_matryoshka": True}}
        models.append({"path": embedder, "id": MATRYOSHKA, "type": "embedding", "engine_args": overrides})
    return models


def scripted_models() -> list[dict[str, Any]]:
    return [
        {"path": "scripted", "id": LLM, "engine": "scripted"},
        {"path": "scripted", "id": EMBEDDER, "type": "embedding", "engine": "scripted"},
    ]


def slow_models(step_s: float, *, embed_s: float = 0.0, **script: Any) -> list[dict[str, Any]]:
    """Scripted ones for `slow_server_process`: see scripted_process.py."""
    llm, embedder = scripted_models()
    return [
        llm | {"engine_args": {"step_s": step_s, **script}},
        embedder | {"engine_args": {"step_s": embed_s}},
    ]


def slow_server_process(
    folder: Path, models: Sequence[dict[str, Any]], **settings: Any
) -> AbstractContextManager[ServerProcess]:
    """A server of scripted engines that take time."""
    config = settings_file(folder, models, **settings)
    return server_process(folder, "--config", config, command=[SCRIPTED_PROCESS])


def settings_file(folder: Path, models: Sequence[dict[str, Any]], **settings: Any) -> str:
    """Writes a settings file; the server takes a port that is free."""
    server = {"address": "127.0.0.1:0", "drain_window_s": 0, **settings.pop("server", {})}
    file = folder / "settings.yaml"
    file.write_text(yaml.safe_dump({"server": server, "models": list(models), **settings}))
    return str(file)


def free_port() -> int:
    """One that was free a moment ago."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def without_settings(environment: Any) -> dict[str, str]:
    """The environment without the settings that whoever runs the tests may have there."""
    return {name: value for name, value in environment.items() if not name.startswith("INFERWIRE_")}


def alive(processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    """Those that still run. A zombie doesn't: it waits for a parent that may never ask."""
    return [process for process in processes if _runs(process)]


def _command_of(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Whether it came true in time."""
    deadline = time.monotonic() + timeout_s
    while not (holds := condition()) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    return holds
