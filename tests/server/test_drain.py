"""The way out, by itself: how long it takes is known, and so is that it takes longer."""

import time

import pytest

from service.server.drain import Drain, DrainTimes


def test_a_drain_is_overdue_once_its_window_and_its_budget_have_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    drain, now = Drain(DrainTimes(window_s=5, budget_s=30)), 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    assert drain.overdue_s == 0
    drain.begin(budget_s=10)
    now += 15
    assert drain.overdue_s == 0
    now += 2
    assert drain.overdue_s == 2
