"""Lets the engine go first where vLLM compiles grammars beside it: on the same cores, in threads of the same process.

vLLM loads `install` as a plugin (entry point `vllm.general_plugins`) in each process that it starts.
"""

import os
import threading
from typing import Any

from service.engines.orphan_guard import SERVER_VARIABLE

NICENESS = 13
"""A grammar with long bounded strings takes seconds of every core. The step of all streams would wait for them."""


def install() -> None:
    if SERVER_VARIABLE not in os.environ:
        return

    from vllm.v1.structured_output import StructuredOutputManager

    create_grammar = StructuredOutputManager._create_grammar

    def create_behind_the_engine(manager: Any, request: Any) -> Any:
        if threading.current_thread() is not threading.main_thread():
            # On Linux a priority belongs to a thread, and the threads that it starts inherit it.
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        return create_grammar(manager, request)

    StructuredOutputManager._create_grammar = create_behind_the_engine
