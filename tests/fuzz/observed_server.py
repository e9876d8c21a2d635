"""`inferwire serve`, which also tells on SIGUSR1 how many tasks it has: nobody can see that from outside.

python -m tests.fuzz.observed_server serve ...
"""

import asyncio
import gc
import signal
from typing import Any

from service.cli.main import main
from service.server import app
from tests.fuzz.footprint import TASKS_LINE

serve = app.serve


def tell_tasks() -> None:
    gc.collect()
    print(f"{TASKS_LINE}{len(asyncio.all_tasks())}", flush=True)


async def serve_observed(*arguments: Any) -> int:
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, tell_tasks)
    return await serve(*arguments)


if __name__ == "__main__":  # else an engine's process, which runs this file anew
    app.serve = serve_observed
    main()
