"""JSON Web Tokens: bearer tokens that somebody else issues and signs."""

import json
from pathlib import Path
from typing import Any

import jwt

from service.server.rereading import Reread, read_file
from service.server.start_errors import UnusableFile
from service.settings.access import JwtSettings


class InvalidToken(Exception):
    """Says for the operator what is wrong, without a word of the token."""


class JsonWebTokens:
    """Takes the word of the issuer for who a caller is."""

    def __init__(self, settings: JwtSettings, jwks_file: Path) -> None:
        """Raises UnusableFile."""
        self._settings = settings
        self._keys = Reread([jwks_file], lambda: _read_keys(jwks_file))

    def subject(self, token: str) -> str:
        """Who the token says its bearer is. Raises InvalidToken."""
        try:
            claims = self._verified_claims(token)
        except Exception as error:
            # Whatever it is: a header nested too deep, say, is none of PyJWT's own. Some messages quote the token.
            raise InvalidToken(type(error).__name__) from None
        subject = claims[self._settings.claim]
        if not isinstance(subject, str):
            raise InvalidToken("The claim that names the caller is not a text")
        return subject

    def _verified_claims(self, token: str) -> dict[str, Any]:
        settings = self._settings
        return jwt.decode(
            token,
            # A key knows its one algorithm: a token can't choose another by its header.
            self._key(jwt.get_unverified_header(token).get("kid")),
            algorithms=list(settings.algorithms),
            issuer=settings.issuer,
            audience=settings.audience,
            leeway=settings.leeway_s,
            options={"require": ["exp", "iss", "aud", settings.claim]},
        )

    def _key(self, key_id: str | None) -> jwt.PyJWK:
        """The only key doesn't have to be named."""
        keys = self._keys.current()
        matching = keys if key_id is None else [key for key in keys if key.key_id == key_id]
        if len(matching) != 1:
            raise jwt.PyJWKSetError("No key, or not one alone, has the token's `kid`")
        return matching[0]


def _read_keys(file: Path) -> list[jwt.PyJWK]:
    try:
        content = json.loads(read_file(file))
        keys = jwt.PyJWKSet.from_dict(content if isinstance(content, dict) else {}).keys
    except (ValueError, jwt.PyJWTError):
        raise UnusableFile(f"{file} is not a JWK Set with a public key in it.") from None
    return [key for key in keys if key.public_key_use in (None, "sig")]
