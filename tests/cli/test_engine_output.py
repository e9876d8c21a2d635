"""Whatever writes to the descriptors 1 and 2 writes to the file, and we don't."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from service.cli.engine_output import engine_output_to, last_lines


def test_output_is_told_apart(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "deep" / "engine.log"
    with engine_output_to(log) as own:
        os.write(1, b"engine out\n")
        os.write(2, b"engine err\n")
        subprocess.run([sys.executable, "-c", "print('child')"], check=True)
        own.stdout.write("ours out\n")
        own.stderr.write("ours err\n")
    assert log.read_text() == "engine out\nengine err\nchild\n"
    assert capfd.readouterr() == ("ours out\n", "ours err\n")


def test_what_python_holds_back_goes_where_it_was_meant_to(tmp_path: Path) -> None:
    """In a process of its own, because pytest's sys.stdout writes elsewhere than to descriptor 1."""
    program = (
        "import sys; from pathlib import Path; from service.cli.engine_output import engine_output_to\n"
        "print('before')\n"
        "with engine_output_to(Path(sys.argv[1])) as own:\n"
        "    print('inside'); print('own', file=own.stdout)\n"
        "print('after')\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "log")]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ran.stdout == "before\nown\nafter\n"
    assert (tmp_path / "log").read_text() == "inside\n"


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    with engine_output_to(tmp_path / "log"):
        pass
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_also_after_a_failure(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError), engine_output_to(tmp_path / "log"):
        raise RuntimeError
    os.write(1, b"after\n")
    assert capfd.readouterr().out == "after\n"


def test_the_file_is_appended_to(tmp_path: Path) -> None:
    log = tmp_path / "log"
    for _ in range(2):
        with engine_output_to(log):
            os.write(1, b"start\n")
    assert log.read_text() == "start\nstart\n"


def test_without_a_file_nothing_changes(capfd: pytest.CaptureFixture[str]) -> None:
    with engine_output_to(None) as own:
        os.write(1, b"engine\n")
        print("ours", file=own.stdout)
    assert capfd.readouterr().out == "engine\nours\n"


def test_last_lines(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert last_lines(log, 3) == []
    log.write_text("old\n")
    start = log.stat().st_size
    with log.open("a") as file:
        file.writelines(f"{number}\n" for number in range(100_000))
    assert last_lines(log, 2, start) == ["99998", "99999"]
    log.write_text("old\nnew\n")
    assert last_lines(log, 5, start) == ["new"]
