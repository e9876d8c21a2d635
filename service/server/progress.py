"""How start-up tells what it is doing; the command line shows it, tests listen to it."""

from typing import Protocol


class Progress(Protocol):
    """Hears of each step of a start: `begin`, then `done` or `failed`, unless the start is given up."""

    def begin(self, step: str) -> None: ...

    def done(self, step: str) -> None: ...

    def failed(self, step: str) -> None: ...


class SilentProgress:
    """Tells nobody."""

    def begin(self, step: str) -> None: ...

    def done(self, step: str) -> None: ...

    def failed(self, step: str) -> None: ...
