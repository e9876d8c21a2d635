"""What the README shows, run as it stands there against the real server; only the address is another."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.serving import ServerProcess

pytestmark = pytest.mark.real_model

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
DEMO_ADDRESS = "127.0.0.1:50051"
CHANGES_EACH_TIME = re.compile(r'"requestId": "\w+"')


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def console(beginning: str) -> tuple[str, str]:
    """The whole command that begins like this in a console block, and what the README says it prints."""
    for block in blocks("console"):
        if block.startswith(f"$ {beginning}"):
            lines = block.splitlines(keepends=True)
            end = next(i for i, line in enumerate(lines) if not line.endswith("\\\n"))
            command = "".join(lines[: end + 1])[2:].replace("\\\n", "")
            return command, "".join(lines[end + 1 :])
    raise AssertionError(f"The README has no console block that begins with {beginning}")


def run(*command: str) -> str:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True).stdout


def test_the_command_line(real_server: ServerProcess) -> None:
    command, printed = console(".venv/bin/inferwire chat")
    _, *arguments = shlex.split(command)
    assert run(sys.executable, "-m", "service", *arguments, "--target", real_server.target) == printed


def test_the_typed_client(real_server: ServerProcess, tmp_path: Path) -> None:
    (example,) = (block for block in blocks("python") if "stream_chat" in block)
    script = tmp_path / "first_call.py"
    script.write_text(example.replace(DEMO_ADDRESS, real_server.target))
    assert run(sys.executable, str(script)) == console(".venv/bin/python first_call.py")[1]


def test_buf_curl(real_server: ServerProcess) -> None:
    command, printed = console(".venv/bin/buf curl")
    program, *arguments = shlex.split(command.replace(DEMO_ADDRESS, real_server.target))
    answer = run(str(Path(sys.executable).parent / Path(program).name), *arguments)
    shown = printed.removesuffix("...\n")
    assert without_ids(answer).startswith(without_ids(shown))


def without_ids(text: str) -> str:
    return CHANGES_EACH_TIME.sub('"requestId": ""', text)


def test_the_retrieval_example(real_server: ServerProcess) -> None:
    printed = run(sys.executable, "examples/retrieval.py", real_server.target)
    recall = re.search(r"^Mean recall of 5 questions: (\d+)%$", printed, re.MULTILINE)
    assert recall
    # What a query of a model of 135 million parameters finds among six documents.
    assert int(recall[1]) >= 60


def test_the_tool_call(real_server: ServerProcess, tmp_path: Path) -> None:
    (example,) = (block for block in blocks("python") if "get_weather" in block)
    script = tmp_path / "tool_call.py"
    script.write_text(example.replace(DEMO_ADDRESS, real_server.target))
    assert run(sys.executable, str(script)) == console(".venv/bin/python tool_call.py")[1]
