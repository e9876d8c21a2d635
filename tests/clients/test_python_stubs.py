"""The stubs as a distribution of their own: alone, typed, and of the server's version."""

import json
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.clients.building import BUILD_S, CLIENTS, ROOT, attempt, run_uv

pytestmark = pytest.mark.timeout(2 * BUILD_S)


def test_the_stubs_need_no_server(python: str) -> None:
    installed = {each["name"] for each in json.loads(run_uv("pip", "list", "--python", python, "--format", "json"))}
    needed = {"googleapis-common-protos", "grpcio", "protobuf", "typing-extensions"}
    assert installed == {"inferwire-stubs", "types-grpcio", "types-protobuf"} | needed


Mypy = Callable[[Path], CompletedProcess[str]]


@pytest.fixture
def mypy(python: str, client_folder: Path) -> Mypy:
    """As a client's own folder configures it, with what is installed beside the stubs."""
    cache = ("--cache-dir", str(client_folder / "mypy"))
    command = (sys.executable, "-m", "mypy", "--python-executable", python, *cache)
    return lambda file: attempt(*command, str(file), cwd=CLIENTS / "python")


def test_a_client_is_typed_strictly(mypy: Mypy) -> None:
    checked = mypy(CLIENTS / "python" / "tour.py")
    assert checked.stdout == "Success: no issues found in 1 source file\n"


def test_a_field_that_is_not_in_the_contract_is_a_wrong_type(mypy: Mypy, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.py"
    wrong.write_text('from inferwire.v1.chat_pb2 import ChatCompletionRequest\nChatCompletionRequest(model="llm")\n')
    assert 'Unexpected keyword argument "model" for "ChatCompletionRequest"' in mypy(wrong).stdout


def test_the_stubs_are_of_the_servers_version() -> None:
    files = ("generated/pyproject.toml", "pyproject.toml")
    stubs, server = (tomllib.loads((ROOT / file).read_text())["project"] for file in files)
    assert stubs["version"] == server["version"]
    assert set(stubs["dependencies"]) <= set(server["dependencies"])
    assert set(stubs["optional-dependencies"]["types"]) <= set(server["optional-dependencies"]["test"])
