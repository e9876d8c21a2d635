"""What the tests of the commands share: a way to run them, a server to call, and a stand-in for the one they start."""

import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import ModuleType

import pytest
from click.testing import CliRunner, Result

from service.cli.main import main
from service.server.progress import Progress
from service.settings import Settings
from tests.canned_server import CannedServer, running_canned_server

Inferwire = Callable[..., Result]


@pytest.fixture
def inferwire(monkeypatch: pytest.MonkeyPatch) -> Inferwire:
    """Runs a command in this process."""
    monkeypatch.setenv("COLUMNS", "120")

    def run(*arguments: str, stdin: str = "") -> Result:
        return CliRunner().invoke(main, arguments, input=stdin)

    return run


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[CannedServer]:
    with running_canned_server() as canned:
        monkeypatch.setenv("INFERWIRE_TARGET", canned.target)
        yield canned


@dataclass
class StartedServer:
    """Stands in for service.server.app."""

    exit_code: int = 0
    becomes_ready: bool = True
    settings: list[Settings] = field(default_factory=list)
    while_starting: Callable[[], object] = lambda: None

    def run(self, settings: Settings, progress: Progress, ready: Callable[[str], None]) -> int:
        self.settings.append(settings)
        progress.begin("load a model")
        self.while_starting()
        if self.becomes_ready:
            progress.done("load a model")
            ready(settings.server.address)
        else:
            progress.failed("load a model")
        return self.exit_code


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> StartedServer:
    logger = logging.getLogger("service")
    for name in ("handlers", "level", "propagate"):
        monkeypatch.setattr(logger, name, getattr(logger, name))  # only to get it back afterwards
    stand_in = StartedServer()
    module = ModuleType("service.server.app")
    module.run = stand_in.run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "service.server.app", module)
    return stand_in
