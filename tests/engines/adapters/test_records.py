"""The file of registrations: whole or not at all, and one server's."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from service.api.models import Registration
from service.engines.adapters.records import Record, Records, RecordsUnusable


def record(model_id: str = "x", digest: str = "0") -> Record:
    registration = Registration(
        model_id=model_id, provider_model_id="a/b", base_model_id="llm", metadata={"a": [1, None, {"b": "ü"}]}
    )
    return Record(registration=registration, digest=digest)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "state.json"


def reread(file: Path) -> list[Record]:
    records = Records(file)
    records.close()
    return list(records.all())


def test_they_are_there_the_next_time(file: Path) -> None:
    records = Records(file)
    records.put(record("x"))
    records.put(record("y"))
    records.put(record("x", digest="1"))
    assert records.remove("y")
    assert not records.remove("y")
    records.put(record("z"))
    records.close()
    assert reread(file) == [record("x", digest="1"), record("z")]
    assert json.loads(file.read_text())["version"] == 1


def test_a_file_that_cannot_be_replaced_stays_as_it_was(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = Records(file)
    records.put(record("x"))
    for step in ("fsync", "replace"):
        with monkeypatch.context() as patched:
            patched.setattr(f"service.engines.adapters.records.os.{step}", _fail)
            with pytest.raises(OSError, match="full"):
                records.put(record("y"))
            with pytest.raises(OSError, match="full"):
                records.remove("x")
        assert records.all() == [record("x")]
    assert sorted(os.listdir(file.parent)) == [file.name, f"{file.name}.lock"]
    records.close()
    assert reread(file) == [record("x")]


def _fail(*_: object) -> None:
    raise OSError(28, "The disk is full")


def test_two_of_one_process(file: Path) -> None:
    first = Records(file)
    with pytest.raises(RecordsUnusable, match="Another server"):
        Records(file)
    first.close()
    Records(file).close()


def test_the_lock_of_a_server_that_was_killed_is_free(file: Path) -> None:
    program = (
        "import sys, pathlib; from service.engines.adapters.records import Records\n"
        "records = Records(pathlib.Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(RecordsUnusable, match="Another server"):
            Records(file)
        other.kill()
    Records(file).close()


@pytest.mark.parametrize("text", ["", "[]", "{", "null", '{"version": 2}', '{"adapters": [{}]}', '{"x": 1}', "\0"])
def test_what_isnt_such_a_file_is_left_alone(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(RecordsUnusable, match="isn't one, or is of another version"):
        Records(file)
    assert file.read_text() == text
    file.unlink()
    Records(file).close()


def test_a_folder_that_isnt_there(tmp_path: Path) -> None:
    with pytest.raises(RecordsUnusable, match="can't be written"):
        Records(tmp_path / "none" / "state.json")
