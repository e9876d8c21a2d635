"""The steps of a start, on a terminal and elsewhere."""

import io
import re
import threading
from contextlib import suppress

import pytest
from rich.console import Console

from service.cli.display import LiveDisplay, PlainDisplay, open_display
from service.server.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("TERM", "xterm")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_INTERACTIVE", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    return Terminal()


def test_the_display_fits_the_stream(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(open_display(terminal), LiveDisplay)
    assert isinstance(open_display(io.StringIO()), PlainDisplay)
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(open_display(terminal), PlainDisplay)


def test_plain_lines() -> None:
    stream = io.StringIO()
    with open_display(stream) as display:
        display.begin("load a")
        display.begin("load b")
        display.done("load b")
        display.failed("load a")
    lines = stream.getvalue().splitlines()
    assert lines[:2] == ["load a …", "load b …"]
    assert re.fullmatch(r"load b … done in \d+\.\d s", lines[2])
    assert re.fullmatch(r"load a … failed after \d+\.\d s", lines[3])


def test_live_lines_stay_and_the_cursor_comes_back(terminal: Terminal) -> None:
    with open_display(terminal) as display:
        display.begin("load [a]")
        display.begin("load b")
        display.done("load b")
        display.failed("load [a]")
        shown_before_the_end = terminal.getvalue()
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown_before_the_end)
    assert re.search(r"✔ load b \d+\.\d s", plain)
    assert re.search(r"✘ load \[a\] \d+\.\d s", plain)
    assert shown_before_the_end.rindex("\x1b[?25h") > shown_before_the_end.rindex("\x1b[?25l")


def test_a_start_that_breaks_off_leaves_the_terminal_usable(terminal: Terminal) -> None:
    display = open_display(terminal)
    with suppress(KeyboardInterrupt), display:
        display.begin("load a")
        raise KeyboardInterrupt
    shown = terminal.getvalue()
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")


@pytest.mark.parametrize("kind", ["plain", "live"])
def test_steps_in_many_threads(kind: str, terminal: Terminal) -> None:
    display = PlainDisplay(terminal) if kind == "plain" else LiveDisplay(Console(file=terminal))

    def run_steps(progress: Progress, thread: int) -> None:
        for number in range(20):
            progress.begin(f"step {thread}.{number}")
            progress.done(f"step {thread}.{number}")

    with display:
        threads = [threading.Thread(target=run_steps, args=(display, number)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    done = "✔" if kind == "live" else "… done in"
    assert terminal.getvalue().count(done) == 160


def test_the_end_of_an_unknown_step_is_no_defect(terminal: Terminal) -> None:
    for display in (PlainDisplay(terminal), LiveDisplay(Console(file=terminal))):
        display.done("never begun")
    assert terminal.getvalue().count("never begun") == 2
