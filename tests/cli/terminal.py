"""A command on a terminal of its own, as a person runs it."""

import fcntl
import os
import pty
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from tests.serving import wait_until

PATIENCE_S = 20
COLUMNS = "120"


@dataclass
class Terminal:
    """What is shown is read all the time: a program that nobody reads stands still."""

    file: int
    shown: str = ""

    def read(self) -> None:
        try:
            while data := os.read(self.file, 4096):
                self.shown += data.decode("utf-8", "replace")
        except OSError:
            pass  # nobody has the other end open any more

    def type(self, text: str) -> None:
        os.write(self.file, text.encode())

    def wait_for(self, text: str) -> None:
        """From here on only what is shown later counts."""
        assert wait_until(lambda: text in self.shown, PATIENCE_S), self.shown
        self.shown = self.shown.partition(text)[2]


def on_a_terminal(
    *arguments: str, **environment: str
) -> AbstractContextManager[tuple[Terminal, "subprocess.Popen[bytes]"]]:
    """Runs `inferwire` with these arguments."""
    return terminal_of(sys.executable, "-m", "service", *arguments, **environment)


@contextmanager
def terminal_of(*command: str, **environment: str) -> Iterator[tuple[Terminal, "subprocess.Popen[bytes]"]]:
    outside, inside = pty.openpty()
    terminal = Terminal(outside)
    process = subprocess.Popen(
        command,
        stdin=inside,
        stdout=inside,
        stderr=inside,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # shells want it to be their own
        env={**os.environ, "TERM": "xterm", "COLUMNS": COLUMNS, **environment},
    )
    os.close(inside)
    reader = threading.Thread(target=terminal.read)
    reader.start()
    try:
        yield terminal, process
    finally:
        process.kill()
        process.wait()
        reader.join()
        os.close(outside)
