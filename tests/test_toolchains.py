"""Missing tools: skipped, with the reason, or a failure where everything is required."""

import pytest

from tests.toolchains import REQUIRED, need, program

MISSING = ("no-such-program", "/no/such/file")


def test_what_is_there_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(REQUIRED, "1")
    need("sh", "/bin/sh")
    assert program("no-such-program", "sh").endswith("/sh")


@pytest.mark.parametrize("missing", MISSING)
def test_what_is_missing_is_skipped_and_named(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    monkeypatch.delenv(REQUIRED, raising=False)
    with pytest.raises(pytest.skip.Exception, match=missing):
        need("sh", missing)


@pytest.mark.parametrize("missing", MISSING)
def test_what_is_missing_and_required_is_a_failure(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    monkeypatch.setenv(REQUIRED, "1")
    for asked in (need, program):
        with pytest.raises(pytest.fail.Exception, match=missing):
            asked(missing)
