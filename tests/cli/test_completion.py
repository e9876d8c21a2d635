"""`inferwire completion`, in the shells themselves."""

import os
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Inferwire
from tests.cli.terminal import terminal_of
from tests.toolchains import program

# Stands for the installed program: completes, and tells what it would have been run with.
INFERWIRE = f"""#!{sys.executable}
import os, sys
from service.cli.main import main
main() if "_INFERWIRE_COMPLETE" in os.environ else print("ran", sys.argv[1:])
"""
SHELLS = {
    "bash": (["--norc", "-i"], 'eval "$(cat {script})"'),
    "zsh": (["-f", "-i"], 'autoload -U compinit && compinit -u -D && eval "$(cat {script})"'),
    "fish": (["--no-config", "-i"], "source {script}"),
}


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("typed", "ran"),
    [("em", "['embed']"), ("chat --tool-c", "['chat', '--tool-choice']"), ("completion z", "['completion', 'zsh']")],
)
def test_a_shell_completes(inferwire: Inferwire, tmp_path: Path, shell: str, typed: str, ran: str) -> None:
    options, read = SHELLS[shell]
    installed, script = tmp_path / "inferwire", tmp_path / "script"
    installed.write_text(INFERWIRE)
    installed.chmod(0o755)
    script.write_text(inferwire("completion", shell).stdout)
    path = f"{tmp_path}:{os.environ['PATH']}"
    with terminal_of(program(shell), *options, PATH=path, HOME=str(tmp_path), TERM="dumb") as (terminal, _):
        terminal.type(f"{read.format(script=script)}; echo re''ady\n")
        terminal.wait_for("ready")
        terminal.type(f"inferwire {typed}\t")
        terminal.type("\n")
        terminal.wait_for(f"ran {ran}")


def test_another_shell_is_a_wrong_use(inferwire: Inferwire) -> None:
    assert inferwire("completion", "csh").exit_code == 2
