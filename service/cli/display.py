"""Shows the steps of a start: a live list on a terminal, plain lines elsewhere.

Steps may run at the same time and may be reported from any thread.
"""

import time
from threading import Lock
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.progress import Progress, ProgressColumn, SpinnerColumn, Task, TaskID
from rich.text import Text


class PlainDisplay:
    """A line when a step begins and one when it ends."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._begun: dict[str, float] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass

    def begin(self, step: str) -> None:
        self._begun[step] = time.monotonic()
        self._print(f"{step} …")

    def done(self, step: str) -> None:
        self._print(f"{step} … done in {self._seconds_since_begin(step):.1f} s")

    def failed(self, step: str) -> None:
        self._print(f"{step} … failed after {self._seconds_since_begin(step):.1f} s")

    def _seconds_since_begin(self, step: str) -> float:
        now = time.monotonic()
        return now - self._begun.pop(step, now)

    def _print(self, line: str) -> None:
        # One write, so that the lines of two threads don't mix.
        self._stream.write(f"{line}\n")
        self._stream.flush()


class LiveDisplay:
    """Finished steps as lines that stay, and below them the running ones with a spinner and their time."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            SpinnerColumn(),
            StepColumn(),
            console=console,
            transient=True,
            # sys.stdout may be the engine's log by now, and is not ours to replace.
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._tasks: dict[str, TaskID] = {}
        self._lock = Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()

    def begin(self, step: str) -> None:
        with self._lock:
            self._tasks[step] = self._progress.add_task(step, total=None)
            self._progress.start()

    def done(self, step: str) -> None:
        self._end(step, Text("✔", "green"))

    def failed(self, step: str) -> None:
        self._end(step, Text("✘", "red"))

    def _end(self, step: str, mark: Text) -> None:
        with self._lock:
            seconds = self._remove(step)
            self._console.print(Text.assemble(mark, f" {step} ", (f"{seconds:.1f} s", "dim")))
            if not self._tasks:
                self._progress.stop()  # nothing to animate: the terminal is free for other lines

    def _remove(self, step: str) -> float:
        """Takes a step off the running ones and returns how long it ran."""
        task_id = self._tasks.pop(step, None)
        if task_id is None:
            return 0.0
        [task] = (task for task in self._progress.tasks if task.id == task_id)
        self._progress.remove_task(task_id)
        self._progress.refresh()  # else the line that is printed next would be followed by the step once more
        return task.elapsed or 0.0


class StepColumn(ProgressColumn):
    """The name of a running step and its seconds so far; as Text, because names may look like markup."""

    def render(self, task: Task) -> Text:
        return Text.assemble(f"{task.description} ", (f"{task.elapsed or 0:.1f} s", "dim"))


def open_display(stream: TextIO) -> PlainDisplay | LiveDisplay:
    """The display that fits where `stream` goes."""
    console = Console(file=stream)
    return LiveDisplay(console) if console.is_interactive else PlainDisplay(stream)
