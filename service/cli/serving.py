"""What `serve` and `demo` have in common: a server that runs until it is told to stop."""

from collections.abc import Callable

from service.cli.display import open_display
from service.cli.engine_output import OwnOutput
from service.server.start_errors import StartError
from service.settings import Settings
from service.telemetry.logs import configure_logs

EXIT_FAILED = 1
IMPORT_STEP = "import the server"


def serve_until_stopped(settings: Settings, output: OwnOutput, ready: Callable[[str], None]) -> int:
    """Serves, shows the steps of the start, calls `ready` with the address, and returns the exit code."""
    configure_logs(settings.log.level, settings.log.json_lines, output.stderr)
    with open_display(output.stdout) as progress:
        progress.begin(IMPORT_STEP)
        # Imported here: it takes seconds, and what it starts inherits where output goes.
        from service.server.app import run

        progress.done(IMPORT_STEP)
        try:
            return run(settings, progress, ready)
        except StartError as error:
            print_line(output, f"error: {error}")
            return EXIT_FAILED


def print_line(output: OwnOutput, line: str) -> None:
    output.stdout.write(f"{line}\n")
    output.stdout.flush()
