"""Tokens that identities share with the server."""

import hmac
from pathlib import Path
from typing import Any

import pytest

from service.server.bearer_tokens import BearerTokens
from service.server.start_errors import UnusableFile
from service.settings.access import IdentitySettings


def identity(name: str, token: str | None = None, file: Path | None = None) -> IdentitySettings:
    return IdentitySettings.model_validate({"name": name, "token": token, "token_file": file})


def owner(tokens: BearerTokens, token: str) -> str | None:
    found = tokens.owner(token)
    return found and found.name


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "tokens"
    file.write_text("old-token\n\n  new-token \r\n")
    return file


def test_a_token_has_an_owner(file: Path) -> None:
    tokens = BearerTokens([identity("a", "token-a"), identity("b", "token-b", file), identity("c", "token-c")])
    given = ["token-a", "token-b", "old-token", "new-token", "token-c"]
    assert [owner(tokens, token) for token in given] == ["a", "b", "b", "b", "c"]


@pytest.mark.parametrize("token", ["", "token", "token-", "token-aa", "TOKEN-A", "tökèn"])
def test_anything_else_has_none(token: str) -> None:
    assert owner(BearerTokens([identity("a", "token-a")]), token) is None


def test_every_token_is_compared_to_the_end_wherever_the_right_one_stands(
    monkeypatch: pytest.MonkeyPatch, file: Path
) -> None:
    compared: list[tuple[int, int]] = []

    def spy(one: bytes, other: bytes, compare: Any = hmac.compare_digest) -> bool:
        compared.append((len(one), len(other)))
        return compare(one, other)

    tokens = BearerTokens([identity("a", "a"), identity("b", "token-b"), identity("c", None, file)])
    monkeypatch.setattr(hmac, "compare_digest", spy)
    for token in ("a", "new-token", "wrong"):
        compared.clear()
        tokens.owner(token)
        assert compared == [(32, 32)] * 4


def test_tokens_are_rotated_by_their_file(file: Path) -> None:
    tokens = BearerTokens([identity("a", None, file)])
    file.write_text("new-token\nnewer-token\n")
    assert [owner(tokens, token) for token in ("old-token", "new-token", "newer-token")] == [None, "a", "a"]
    file.write_text("")
    assert owner(tokens, "new-token") is None


def test_a_line_that_is_no_token_is_told_by_its_number(file: Path) -> None:
    file.write_text("fine\nnot a token\n")
    with pytest.raises(UnusableFile) as refused:
        BearerTokens([identity("a", None, file)])
    assert str(refused.value).startswith(f"Line 2 of {file} is not a token")
    assert "not a token\n" not in str(refused.value)


def test_tokens_are_not_kept(file: Path) -> None:
    tokens = BearerTokens([identity("a", None, file)])
    assert "old-token" not in repr(vars(tokens)) + repr([vars(kept) for _, kept in tokens._files])
