"""Who calls: decided once a call, before anybody looks at its request.

What a caller shows, in this order; the first that tells of an identity counts:

    a bearer token      of an identity, or a JSON Web Token that a trusted issuer has signed. A wrong one ends the call.
    a certificate       that TLS has checked already: its names (SAN)
    a mesh's metadata   last, as whoever reaches the server can set it

Without any of them a caller is anonymous, if that is allowed.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from service.errors import PermissionDenied, Unauthenticated
from service.server.bearer_tokens import BearerTokens
from service.server.json_web_tokens import InvalidToken, JsonWebTokens
from service.settings import Settings
from service.settings.access import (
    ADMIN_SERVICE,
    MODEL_SERVICE,
    USUAL_METHODS,
    IdentitySettings,
    JwtSettings,
    names_method,
)
from service.telemetry.calls import ANONYMOUS

logger = logging.getLogger(__name__)

BEARER = "bearer "
AUTHORIZATION_KEY = "authorization"
PACKAGE_PREFIX = "/inferwire.v1."
EVERYTHING = ("*", f"{ADMIN_SERVICE}/*", f"{MODEL_SERVICE}/*")

Metadata = Iterable[tuple[str, str | bytes]]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, and what it may use."""

    identity: str
    methods: Sequence[str]
    models: Sequence[str]

    def check_method(self, method: str) -> None:
        """`method` is its path, such as `/inferwire.v1.ModelService/GetModel`. Raises PermissionDenied."""
        name = method.removeprefix(PACKAGE_PREFIX)
        if not any(names_method(pattern, name) for pattern in self.methods):
            raise PermissionDenied(f"The identity {self.identity!r} may not call {name}.", metadata={"method": method})


class Authenticator:
    """Knows the identities of the settings."""

    def __init__(self, settings: Settings) -> None:
        """Raises UnusableFile."""
        self._identities = settings.identities
        self._tokens = BearerTokens(settings.identities)
        self._json_web_tokens = _json_web_tokens(settings.auth.jwt)
        self._metadata_key = settings.auth.metadata_key
        self._anonymous = _anonymous(settings) if settings.anonymous_allowed else None

    def authenticate(self, metadata: Metadata, certificate_names: Sequence[str]) -> Caller:
        """Raises Unauthenticated."""
        texts = [(key, value) for key, value in metadata if isinstance(value, str)]
        identity = self._by_token(texts) or self._by_certificate(certificate_names) or self._by_mesh(texts)
        if identity is not None:
            return Caller(identity.name, identity.methods, identity.models)
        if self._anonymous is None:
            raise _unauthenticated("no credentials, or those of nobody known")
        return self._anonymous

    def _by_token(self, metadata: Sequence[tuple[str, str]]) -> IdentitySettings | None:
        if not self._tokens and not self._json_web_tokens:
            # Nobody here can tell a right token from a wrong one. It may be meant for a proxy on the way.
            return None
        given = _only(AUTHORIZATION_KEY, metadata)
        if given is None:
            return None
        if not given.lower().startswith(BEARER):
            raise _unauthenticated("no bearer token in `authorization`")
        token = given[len(BEARER) :].strip()
        return self._tokens.owner(token) or self._by_json_web_token(token)

    def _by_json_web_token(self, token: str) -> IdentitySettings | None:
        if self._json_web_tokens is None:
            raise _unauthenticated("a wrong token")
        try:
            subject = self._json_web_tokens.subject(token)
        except InvalidToken as error:
            raise _unauthenticated(str(error)) from None
        return self._first(lambda identity: identity.subjects, [subject])

    def _by_certificate(self, names: Sequence[str]) -> IdentitySettings | None:
        return self._first(lambda identity: identity.sans, names)

    def _by_mesh(self, metadata: Sequence[tuple[str, str]]) -> IdentitySettings | None:
        name = _only(self._metadata_key, metadata) if self._metadata_key else None
        return self._first(lambda identity: identity.subjects, [name]) if name else None

    def _first(
        self, patterns_of: Callable[[IdentitySettings], Sequence[str]], names: Sequence[str]
    ) -> IdentitySettings | None:
        """In the order of the settings."""
        for identity in self._identities:
            if any(fnmatchcase(name, pattern) for pattern in patterns_of(identity) for name in names):
                return identity
        return None


def _json_web_tokens(settings: JwtSettings) -> JsonWebTokens | None:
    return JsonWebTokens(settings, settings.jwks_file) if settings.jwks_file else None


def _anonymous(settings: Settings) -> Caller:
    methods = settings.anonymous.methods
    if methods is None:
        methods = EVERYTHING if settings.open_to_all and settings.server.stays_on_this_machine else USUAL_METHODS
    return Caller(ANONYMOUS, methods, settings.anonymous.models)


def _only(key: str, metadata: Sequence[tuple[str, str]]) -> str | None:
    """Two values are refused: which one a proxy has checked, or added, can't be told."""
    values = [value for name, value in metadata if name == key]
    if len(values) > 1:
        raise _unauthenticated(f"{key} more than once")
    return values[0] if values else None


def _unauthenticated(why: str) -> Unauthenticated:
    """The same words for every reason, which is told to the operator only."""
    logger.info("A caller was refused", extra={"why": why})
    return Unauthenticated("The call carries no valid credentials.")
