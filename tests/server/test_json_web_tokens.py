"""JSON Web Tokens: what is believed, and what is not."""

import base64
import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest

from service.server.json_web_tokens import InvalidToken, JsonWebTokens
from service.server.start_errors import UnusableFile
from service.settings.access import JwtSettings
from tests.credentials import Issuer

# Seconds since 1970, on either side of whenever the tests run.
IN_2001 = 1_000_000_000
IN_2286 = 10_000_000_000


@pytest.fixture
def jwks_file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


@pytest.fixture
def issuer(jwks_file: Path) -> Issuer:
    return Issuer(jwks_file)


def verifier(issuer: Issuer, **changed: Any) -> JsonWebTokens:
    settings = JwtSettings.model_validate({**issuer.settings, **changed})
    assert settings.jwks_file
    return JsonWebTokens(settings, settings.jwks_file)


def test_a_token_of_the_issuer_names_its_bearer(issuer: Issuer) -> None:
    assert verifier(issuer).subject(issuer.token("alice")) == "alice"


def test_so_does_another_claim(issuer: Issuer) -> None:
    token = issuer.token(None, client_id="search")
    assert verifier(issuer, claim="client_id").subject(token) == "search"


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"exp": IN_2001}, "ExpiredSignatureError"),
        ({"exp": None}, "MissingRequiredClaimError"),
        ({"nbf": IN_2286}, "ImmatureSignatureError"),
        ({"iss": "https://other.example"}, "InvalidIssuerError"),
        ({"iss": None}, "MissingRequiredClaimError"),
        ({"aud": "billing"}, "InvalidAudienceError"),
        ({"aud": None}, "MissingRequiredClaimError"),
        ({"subject": None}, "MissingRequiredClaimError"),
        ({"exp": "soon"}, "DecodeError"),
        ({"exp": float("inf")}, "DecodeError"),
        ({"key_id": "key-2"}, "PyJWKSetError"),
    ],
)
def test_a_token_that_says_something_else_is_refused(issuer: Issuer, claims: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidToken, match=f"^{why}$"):
        verifier(issuer).subject(issuer.token(**claims))


def test_a_caller_is_named_by_a_text(issuer: Issuer) -> None:
    with pytest.raises(InvalidToken):
        verifier(issuer, claim="client_id").subject(issuer.token(client_id=["search"]))


def test_a_clock_may_differ_a_little(issuer: Issuer) -> None:
    assert verifier(issuer, leeway_s=60).subject(issuer.token(exp=int(time.time()) - 1)) == "alice"


def test_an_unsigned_token_is_refused(issuer: Issuer) -> None:
    with pytest.raises(InvalidToken, match="InvalidAlgorithmError"):
        verifier(issuer).subject(issuer.unsigned())


def test_the_public_key_is_no_shared_secret(issuer: Issuer) -> None:
    with pytest.raises(InvalidToken, match="InvalidAlgorithmError"):
        verifier(issuer).subject(issuer.signed_with_the_public_key())


def test_nor_is_a_shared_secret_a_key(issuer: Issuer, jwks_file: Path) -> None:
    secret = b"0123456789abcdef0123456789abcdef"
    key = {"kty": "oct", "kid": "shared", "k": base64.urlsafe_b64encode(secret).decode().rstrip("=")}
    jwks_file.write_text(json.dumps({"keys": [key]}))
    claims = jwt.decode(issuer.token(), options={"verify_signature": False})
    token = jwt.encode(claims, secret, "HS256", headers={"kid": "shared"})
    with pytest.raises(InvalidToken, match="InvalidAlgorithmError"):
        verifier(issuer).subject(token)


def test_an_algorithm_that_is_not_allowed_is_refused(issuer: Issuer) -> None:
    with pytest.raises(InvalidToken, match="InvalidAlgorithmError"):
        verifier(issuer, algorithms="RS256").subject(issuer.token())


def test_a_key_of_somebody_else_is_refused(issuer: Issuer, tmp_path: Path) -> None:
    stranger = Issuer(tmp_path / "other.json")
    with pytest.raises(InvalidToken, match="InvalidSignatureError"):
        verifier(issuer).subject(stranger.token())


@pytest.mark.parametrize(
    "token",
    ["", ".", "..", "a.b.c", "tökèn.tökèn.tökèn", base64.urlsafe_b64encode(b"[" * 6000).decode() + ".e30.e30"],
    ids=["empty", "one dot", "two dots", "letters", "not ASCII", "nested too deep"],
)
def test_what_is_no_token_is_refused(issuer: Issuer, token: str) -> None:
    with pytest.raises(InvalidToken):
        verifier(issuer).subject(token)


def test_keys_are_rotated_by_their_file(issuer: Issuer) -> None:
    tokens = verifier(issuer)
    old = issuer.token()
    issuer.rotate("key-2")
    assert tokens.subject(issuer.token("bob")) == "bob"
    with pytest.raises(InvalidToken):
        tokens.subject(old)


@pytest.mark.parametrize("content", ["", "no json", "[]", "{}", '{"keys": []}', '{"keys": [{"kty": "EC"}]}', '"a"'])
def test_a_file_without_keys_is_told(issuer: Issuer, jwks_file: Path, content: str) -> None:
    jwks_file.write_text(content)
    with pytest.raises(UnusableFile, match="is not a JWK Set"):
        verifier(issuer)
