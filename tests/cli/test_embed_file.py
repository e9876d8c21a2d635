"""`inferwire embed --input`: what is in the output, and what is kept of a run that doesn't finish."""

import json
from pathlib import Path
from typing import Any

import pytest

from service.cli.embed_file.journal import Journal, JournalInUse, JournalOfAnother, Row
from service.cli.embed_file.lines import read_lines
from tests.canned_server import VECTOR, CannedServer
from tests.cli.conftest import Inferwire

SUBJECT = {"model": "mini"}


def rows_of(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    parquet = pytest.importorskip("pyarrow.parquet")
    rows: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
    return rows


@pytest.fixture
def source(tmp_path: Path) -> Path:
    file = tmp_path / "texts.jsonl"
    lines = ['{"id": "a", "text": "one"}', "", '{"id": 7, "text": "wrong"}', "{", '{"id": "a", "text": "two"}']
    file.write_text("\n".join(lines))
    return file


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_each_line_has_its_row(
    inferwire: Inferwire, server: CannedServer, source: Path, tmp_path: Path, ending: str
) -> None:
    output = tmp_path / f"vectors.{ending}"
    result = inferwire("embed", "--input", str(source), "--output", str(output))
    assert (result.exit_code, result.stderr) == (3, f"4 rows, 2 of them errors, in {output}\n")
    first, wrong, broken, last = rows_of(output)
    assert first == {"id": "a", "vector": list(VECTOR), "truncated": False, "tokens": 4, "error": None}
    assert last == first
    assert (wrong["id"], wrong["vector"]) == ("7", None)
    assert wrong["error"] == "line 3: INVALID_FIELD: item.content.text: It is wrong."
    assert (broken["id"], broken["error"].partition(" (")[0]) == (None, "line 4: it is not JSON")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["texts.jsonl", output.name]


def test_a_run_without_errors_ends_well(inferwire: Inferwire, server: CannedServer, tmp_path: Path) -> None:
    source, output = tmp_path / "texts.jsonl", tmp_path / "vectors.jsonl"
    source.write_text('{"id": "a", "text": "one"}\n')
    assert inferwire("embed", "--input", str(source), "--output", str(output)).exit_code == 0
    again = inferwire("embed", "--input", str(source), "--output", str(output))
    assert (again.exit_code, "is there already" in again.output) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--input", "SOURCE"], "go together"),
        (["--output", "x.jsonl"], "go together"),
        (["--input", "SOURCE", "--output", "x.csv"], ".parquet or .jsonl"),
        (["text", "--input", "SOURCE", "--output", "x.jsonl"], "without TEXT"),
    ],
)
def test_a_wrong_use_is_told(inferwire: Inferwire, source: Path, arguments: list[str], complaint: str) -> None:
    result = inferwire("embed", *(str(source) if argument == "SOURCE" else argument for argument in arguments))
    assert (result.exit_code, complaint in result.output) == (2, True)


def test_a_journal_of_another_input_is_left_alone(
    inferwire: Inferwire, server: CannedServer, source: Path, tmp_path: Path
) -> None:
    journal = tmp_path / "vectors.jsonl.journal"
    journal.write_text('{"model":"other"}\n')
    result = inferwire("embed", "--input", str(source), "--output", str(tmp_path / "vectors.jsonl"))
    assert (result.exit_code, "begun with another input" in result.output) == (1, True)
    assert journal.read_text() == '{"model":"other"}\n'


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("[1]", "it is not a JSON object"),
        ('{"text": "x"}', "its id is not a string or an integer"),
        ('{"id": true, "text": "x"}', "its id is not a string or an integer"),
        ('{"id": "a"}', "its text is not a string"),
        ('{"id": "a", "text": "\\ud800"}', "its text holds half a surrogate pair"),
        ('{"id": "a", "text": "xxxxxxxxxxx"}', "its text has more than 10 bytes"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, complaint: str) -> None:
    file = tmp_path / "texts.jsonl"
    file.write_text(f"\n{line}\n")
    assert [read.error for read in read_lines(file, 10)] == [f"line 2: {complaint}"]


class TestJournal:
    ROWS = (Row(3, "c", b"\0\0\x80\x3f", True, 5), Row(1, None, error="line 1: broken"))

    def filled(self, path: Path) -> Path:
        with Journal(path, SUBJECT, lines=3) as journal:
            for row in self.ROWS:
                journal.add(row)
        return path

    def test_rows_come_back_in_the_order_of_lines(self, tmp_path: Path) -> None:
        with Journal(self.filled(tmp_path / "j"), SUBJECT, lines=3) as journal:
            assert (list(journal.in_order()), journal.rows, journal.errors) == ([*self.ROWS[::-1]], 2, 1)
            assert [journal.has(line) for line in (1, 2, 3)] == [True, False, True]

    def test_wherever_it_was_cut_off_whole_rows_stay_and_it_can_go_on(self, tmp_path: Path) -> None:
        whole = self.filled(tmp_path / "j").read_bytes()
        for size in range(len(whole)):
            path = tmp_path / "cut"
            path.write_bytes(whole[:size])
            with Journal(path, SUBJECT, lines=3) as journal:
                assert journal.rows == max(0, whole[:size].count(b"\n") - 1)
                for row in self.ROWS:
                    if not journal.has(row.line):
                        journal.add(row)
            assert path.read_bytes() == whole

    def test_one_run_at_a_time(self, tmp_path: Path) -> None:
        with Journal(tmp_path / "j", SUBJECT, lines=3), pytest.raises(JournalInUse):
            Journal(tmp_path / "j", SUBJECT, lines=3)

    def test_it_is_of_one_subject(self, tmp_path: Path) -> None:
        self.filled(tmp_path / "j")
        with pytest.raises(JournalOfAnother):
            Journal(tmp_path / "j", {"model": "other"}, lines=3)
