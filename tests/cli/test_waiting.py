"""Who waits for longer than a moment is told for what, on a terminal."""

import pytest

from tests.canned_server import ANSWER, CannedServer
from tests.cli.conftest import Inferwire
from tests.cli.terminal import on_a_terminal

COMMANDS = {
    "chat": (["-m", "x"], "Waiting for the first token", ANSWER),
    "complete": (["x"], "Waiting for the first token", ANSWER),
    "embed": (["x"], "Embedding, 0 done", "dimension"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_wait_is_told_until_there_is_an_answer(server: CannedServer, command: str) -> None:
    arguments, told, answer = COMMANDS[command]
    with on_a_terminal(command, *arguments, "--target", server.target, "--model", "late") as (terminal, process):
        terminal.wait_for(told)
        server.may_answer.set()
        terminal.wait_for(answer)
        assert process.wait(10) == 0
        assert told not in terminal.shown


@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_is_told_where_no_terminal_is(
    inferwire: Inferwire, server: CannedServer, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr("service.cli.waiting.SHOWN_AFTER_S", 0)
    assert inferwire(command, *COMMANDS[command][0]).stderr == ""
