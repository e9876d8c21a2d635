"""`inferwire serve`, with a stand-in for the server."""

import logging
import os
from pathlib import Path

import pytest

from service.api.models import ModelType
from service.cli.server_options import model_entry
from service.server.start_errors import AddressInUse
from tests.cli.conftest import Inferwire, StartedServer


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        ("org/Name", {"path": "org/Name"}),
        ("/models/x", {"path": "/models/x"}),
        ("short=org/Name", {"id": "short", "path": "org/Name"}),
        ("short=/models/a=b", {"id": "short", "path": "/models/a=b"}),
        ("/models/a=b", {"path": "/models/a=b"}),
        ("./a=b", {"path": "./a=b"}),
    ],
)
def test_model_flags(text: str, entry: dict[str, str]) -> None:
    assert model_entry(text, ModelType.LLM) == {**entry, "type": ModelType.LLM}


def test_models_of_all_types_are_served(inferwire: Inferwire, started: StartedServer) -> None:
    models = ("--model", "org/A", "--scoring-model", "org/D", "--embedding-model", "e=org/B", "--model", "org/C")
    result = inferwire("serve", *models)
    assert result.exit_code == 0, result.output
    served = [(model.id, model.path, model.type) for model in started.settings[0].models]
    assert served == [
        ("A", "org/A", ModelType.LLM),
        ("C", "org/C", ModelType.LLM),
        ("e", "org/B", ModelType.EMBEDDING),
        ("D", "org/D", ModelType.SCORING),
    ]


def test_no_models(inferwire: Inferwire, started: StartedServer) -> None:
    result = inferwire("serve")
    assert result.exit_code == 2
    assert "--model" in result.output
    assert "inferwire demo" in result.output
    assert not started.settings


def test_two_models_of_one_name(inferwire: Inferwire, started: StartedServer) -> None:
    result = inferwire("serve", "--model", "a/x", "--embedding-model", "b/x")
    assert result.exit_code == 2
    assert "two models have the same id: x" in result.output


def test_progress_and_address_are_shown(inferwire: Inferwire, started: StartedServer) -> None:
    output = inferwire("serve", "--model", "a/x", "--server-address", "127.0.0.1:7").stdout
    assert "load a model … done in 0.0 s" in output
    assert output.endswith("serving on 127.0.0.1:7\n")


def test_the_exit_code_is_the_server_s(inferwire: Inferwire, started: StartedServer) -> None:
    started.exit_code = 3
    assert inferwire("serve", "--model", "a/x").exit_code == 3


def test_an_address_in_use_is_told_in_one_line(inferwire: Inferwire, started: StartedServer) -> None:
    def refuse() -> None:
        raise AddressInUse("Can't listen on 127.0.0.1:7: it is in use.")

    started.while_starting = refuse
    result = inferwire("serve", "--model", "a/x")
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-1] == "error: Can't listen on 127.0.0.1:7: it is in use."


def test_an_address_beyond_this_machine_names_both_ways_out(inferwire: Inferwire, started: StartedServer) -> None:
    result = inferwire("serve", "--model", "a/x", "--server-address", "0.0.0.0:7")
    assert (result.exit_code, started.settings) == (2, [])
    shown = " ".join(result.output.replace("│", " ").split())
    assert "0.0.0.0:7 can be reached from other machines" in shown
    assert "Set tls.certificate and tls.key, or server.allow_insecure" in shown


@pytest.mark.parametrize(
    "way_out", [["--server-allow-insecure"], ["--tls-certificate", "server.pem", "--tls-key", "server.key"]]
)
def test_both_work(inferwire: Inferwire, started: StartedServer, way_out: list[str]) -> None:
    assert inferwire("serve", "--model", "a/x", "--server-address", "0.0.0.0:7", *way_out).exit_code == 0
    assert started.settings[0].server.address == "0.0.0.0:7"


def test_log_lines_stay_apart_from_engine_output(
    inferwire: Inferwire, started: StartedServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    started.while_starting = lambda: logging.getLogger("service.x").warning("from us")
    log = tmp_path / "engine.log"
    inferwire("serve", "--model", "a/x", "--log-engine-log", str(log))
    assert log.read_text() == ""
    assert "from us" in capfd.readouterr().err


def test_engine_output_goes_to_its_file(
    inferwire: Inferwire, started: StartedServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    started.while_starting = lambda: os.system("echo from the engine")
    log = tmp_path / "logs" / "engine.log"
    inferwire("serve", "--model", "a/x", "--log-engine-log", str(log))
    assert log.read_text() == "from the engine\n"
    shown = capfd.readouterr().out
    assert "serving on" in shown
    assert "from the engine" not in shown


def test_verbose_shows_engine_output_after_all(
    inferwire: Inferwire, started: StartedServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    started.while_starting = lambda: os.system("echo from the engine")
    log = tmp_path / "engine.log"
    inferwire("serve", "--model", "a/x", "--log-engine-log", str(log), "--verbose")
    assert not log.exists()
    assert "from the engine" in capfd.readouterr().out
