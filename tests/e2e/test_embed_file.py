"""`inferwire embed --input` that is killed, or loses its server, goes on where it stopped."""

import json
import subprocess
import sys
from pathlib import Path

from tests.serving import slow_models, slow_server_process, wait_until

COUNT = 600
PATIENCE_S = 60


def embed(folder: Path, target: str) -> "subprocess.Popen[str]":
    files = ["--input", str(folder / "texts.jsonl"), "--output", str(folder / "vectors.jsonl")]
    return subprocess.Popen(
        [sys.executable, "-m", "service", "embed", "--target", target, *files],
        stderr=subprocess.PIPE,
        text=True,
    )


def rows_in_journal(folder: Path) -> int:
    journal = folder / "vectors.jsonl.journal"
    return max(0, journal.read_bytes().count(b"\n") - 1) if journal.exists() else 0


def test_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    texts = [{"id": f"id-{number}", "text": f"text {number}" if number != 9 else ""} for number in range(COUNT)]
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps(text) + "\n" for text in texts))
    # Few at a time, so that there is a middle to be interrupted in.
    models = [model | {"admission": {"max_running_requests": 2}} for model in slow_models(0, embed_s=0.01)]
    with slow_server_process(tmp_path, models) as server:
        server.wait_until_serving()
        killed = embed(tmp_path, server.target)
        assert wait_until(lambda: rows_in_journal(tmp_path) > 20, PATIENCE_S)
        killed.kill()
        killed.communicate()
        done = rows_in_journal(tmp_path)
        bereft = embed(tmp_path, server.target)
        assert wait_until(lambda: rows_in_journal(tmp_path) > done + 20, PATIENCE_S)
        server.process.kill()
        server.process.wait()
        told = bereft.communicate(timeout=PATIENCE_S)[1]
        assert (bereft.returncode, told.startswith("error: ")) == (1, True)
    assert done < rows_in_journal(tmp_path) < COUNT
    with slow_server_process(tmp_path, slow_models(0)) as server:
        server.wait_until_serving()
        last = embed(tmp_path, server.target)
        told = last.communicate(timeout=PATIENCE_S)[1]
    assert (last.returncode, told) == (3, f"{COUNT} rows, 1 of them errors, in {tmp_path / 'vectors.jsonl'}\n")
    rows = [json.loads(line) for line in (tmp_path / "vectors.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == [text["id"] for text in texts]
    assert [row["id"] for row in rows if row["error"]] == ["id-9"]
