"""The group of commands: complete, quick, and told about without importing anything."""

import subprocess
import sys
from pathlib import Path

import pytest

from service.cli import main as main_module
from service.cli.main import COMMANDS, load_command
from tests.cli.conftest import Inferwire

HEAVY = {"torch", "vllm", "transformers"}


def imported_by(*arguments: str) -> set[str]:
    program = (
        "import sys\n"
        "from service.cli.main import main\n"
        f"main({list(arguments)!r}, standalone_mode=False)\n"
        "print('|'.join(sys.modules), file=sys.stderr)\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(ran.stderr.split("|"))


def test_help_imports_no_command_and_nothing_heavy() -> None:
    modules = imported_by("--help")
    assert not modules & {*HEAVY, "grpc", "pydantic", "yaml"}
    assert not any(f"service.cli.{name}" in modules for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_imports_nothing_heavy(name: str) -> None:
    assert not imported_by(name, "--help") & HEAVY


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], *([name, "--help"] for name in COMMANDS)])
def test_help(inferwire: Inferwire, arguments: list[str]) -> None:
    result = inferwire(*arguments)
    assert result.exit_code == 0
    assert "Usage:" in result.output


def test_help_lists_every_command(inferwire: Inferwire) -> None:
    output = inferwire("--help").output
    for name, line in COMMANDS.items():
        assert name in output
        assert line in output


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_its_name_and_says_what_it_does(name: str) -> None:
    command = load_command(name)
    assert command.name == name
    assert command.help


def test_an_unknown_command_is_a_wrong_use(inferwire: Inferwire) -> None:
    assert inferwire("fly").exit_code == 2


def test_version(inferwire: Inferwire) -> None:
    assert inferwire("--version").output.startswith("inferwire, version ")


def test_python_m_service_is_the_same_program() -> None:
    ran = subprocess.run([sys.executable, "-m", "service", "--help"], capture_output=True, text=True, check=True)
    assert "demo" in ran.stdout


def test_importing_the_program_does_not_run_it() -> None:
    """Child processes of engines do that."""
    program = Path(main_module.__file__).parent.parent / "__main__.py"
    run_as_child = f"import runpy; runpy.run_path({str(program)!r}, run_name='__mp_main__')"
    ran = subprocess.run([sys.executable, "-c", run_as_child], capture_output=True, text=True, check=True)
    assert ran.stdout == ""
