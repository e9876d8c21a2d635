"""Grammars are compiled behind the engine: in threads that give way to it."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from vllm.v1.structured_output import StructuredOutputManager

from service.engines.orphan_guard import SERVER_VARIABLE
from service.engines.vllm.grammar_threads import NICENESS, install


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch) -> StructuredOutputManager:
    """One whose grammars are the niceness of the thread that a compiler would start."""
    monkeypatch.setattr(StructuredOutputManager, "_create_grammar", lambda self, request: niceness_of_new_thread())
    manager: StructuredOutputManager = object.__new__(StructuredOutputManager)
    return manager


def niceness_of_new_thread() -> int:
    found = []
    thread = threading.Thread(target=lambda: found.append(niceness()))
    thread.start()
    thread.join()
    return found[0]


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def in_a_thread(manager: Any) -> Any:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(manager._create_grammar, None).result()


def test_a_grammar_s_threads_are_nice_and_no_others(
    manager: StructuredOutputManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = niceness()
    monkeypatch.setenv(SERVER_VARIABLE, "1")
    install()
    assert in_a_thread(manager) == NICENESS > usual
    assert niceness() == usual
    assert manager._create_grammar(None) == usual, "the engine's own thread has become nice"


def test_vllm_of_others_is_left_alone(manager: StructuredOutputManager, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = niceness()
    monkeypatch.delenv(SERVER_VARIABLE, raising=False)
    install()
    assert in_a_thread(manager) == usual
