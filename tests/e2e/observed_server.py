"""`inferwire serve`, which also writes its engines' own counts of requests to a file, again and again.

python observed_server.py serve ...     with COUNTS_FILE in the environment
"""

import json
import os
import threading
import time
from pathlib import Path

from service.cli.main import main
from service.engines.base import Engine
from service.server import app
from service.settings import Settings

COUNTS_FILE = "COUNTS_FILE"
INTERVAL_S = 0.05


def counts(engine: Engine) -> dict[str, int]:
    """What the engine's scheduler has, by its latest report, and what its front-end still waits for."""
    core = engine.core  # type: ignore[attr-defined]
    unfinished = core.engine.output_processor.get_num_unfinished_requests() if core.alive else 0
    return {"running": core.gauge.running, "waiting": core.gauge.waiting, "unfinished": unfinished}


def report(engines: list[Engine], file: Path) -> None:
    fresh = file.with_suffix(".new")
    while True:
        fresh.write_text(json.dumps({engine.identifier: counts(engine) for engine in engines}))
        fresh.rename(file)
        time.sleep(INTERVAL_S)


build_engines = app.build_engines


def build_and_observe(settings: Settings) -> list[Engine]:
    engines = build_engines(settings)
    threading.Thread(target=report, args=(engines, Path(os.environ[COUNTS_FILE])), daemon=True).start()
    return engines


if __name__ == "__main__":  # else an engine's process, which runs this file anew
    app.build_engines = build_and_observe
    main()
