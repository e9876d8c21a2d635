"""Ends an engine's process when the server that started it is gone, however it went: also after a kill -9.

vLLM loads `install` as a plugin (entry point `vllm.general_plugins`) in each process that it starts. The library's own
processes wait for commands for good when nobody is left to send any.
"""

import multiprocessing
import os
import threading

SERVER_VARIABLE = "INFERWIRE_ENGINE_OF"
"""Set by the server for its engines, so that other uses of vLLM in the same environment are left alone."""


def install() -> None:
    parent = multiprocessing.parent_process()
    if parent is None or SERVER_VARIABLE not in os.environ:
        return

    def end_with_parent() -> None:
        parent.join()
        # Not sys.exit: nobody is left to hear of it, and the main thread may be deep in a computation.
        os._exit(1)

    threading.Thread(target=end_with_parent, name="orphan-guard", daemon=True).start()
