"""Files that change while the server runs."""

import logging
import os
from pathlib import Path

import pytest

from service.server.rereading import Reread, read_file
from service.server.start_errors import UnusableFile


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "secrets"
    file.write_text("one")
    return file


def number_of_reads(file: Path) -> tuple[Reread[str], list[str]]:
    reads: list[str] = []

    def read() -> str:
        text = read_file(file).decode()
        reads.append(text)
        if text == "broken":
            raise UnusableFile(f"{file} is broken.")
        return text

    return Reread([file], read), reads


def test_a_file_is_read_again_only_when_it_has_changed(file: Path) -> None:
    reread, reads = number_of_reads(file)
    assert [reread.current() for _ in range(3)] == ["one"] * 3
    file.write_text("three")
    assert [reread.current() for _ in range(3)] == ["three"] * 3
    assert reads == ["one", "three"]


def test_a_file_that_another_one_takes_the_place_of_has_changed(file: Path) -> None:
    """As `mv` and Kubernetes do it; size and time may be the same."""
    reread, _ = number_of_reads(file)
    other = file.with_name("other")
    other.write_text("two")
    os.utime(other, ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns))
    other.replace(file)
    assert reread.current() == "two"


@pytest.mark.parametrize("breaks", [lambda file: file.write_text("broken"), Path.unlink], ids=["broken", "gone"])
def test_what_can_not_be_used_changes_nothing_and_is_told_once(
    file: Path, breaks: object, caplog: pytest.LogCaptureFixture
) -> None:
    reread, _ = number_of_reads(file)
    breaks(file)  # type: ignore[operator]
    with caplog.at_level(logging.INFO):
        assert [reread.current() for _ in range(3)] == ["one"] * 3
    [record] = caplog.records
    assert (record.levelno, str(file) in record.getMessage()) == (logging.WARNING, True)
    file.write_text("four")
    assert reread.current() == "four"


def test_but_at_the_start_it_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UnusableFile, match=r"Can't read .*/none: No such file"):
        number_of_reads(tmp_path / "none")
