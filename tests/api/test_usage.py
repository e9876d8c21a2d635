"""Sums of tokens."""

from service.api.usage import Usage


def test_cached_tokens_are_counted_once() -> None:
    assert Usage(prompt_tokens=10, cached_tokens=8, completion_tokens=3).total_tokens == 13
