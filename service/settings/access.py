"""Who may call, how the server knows them, and what each may use."""

from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from service.settings.section import FROM_ONE_TEXT, Names, Section
from service.telemetry.calls import ANONYMOUS

ADMIN_SERVICE = "AdminService"
MODEL_SERVICE = "ModelService"
REGISTRATION_METHODS = (f"{MODEL_SERVICE}/RegisterModel", f"{MODEL_SERVICE}/UnregisterModel")
USUAL_METHODS = ("InferenceService/*", "ModelService/ListModels", "ModelService/GetModel")


class SigningAlgorithm(StrEnum):
    """All asymmetric: who can check a token can't make one."""

    RS256 = "RS256"
    RS384 = "RS384"
    RS512 = "RS512"
    PS256 = "PS256"
    PS384 = "PS384"
    PS512 = "PS512"
    ES256 = "ES256"
    ES384 = "ES384"
    ES512 = "ES512"
    EDDSA = "EdDSA"


class JwtSettings(Section):
    """JSON Web Tokens, which callers send as bearer tokens."""

    jwks_file: Path | None = Field(
        None,
        description="A file of the public keys that sign JSON Web Tokens (a JWK Set), read anew when it has changed. "
        "Unset: no such tokens are taken.",
    )
    issuer: str = Field("", description="What a JSON Web Token has to say as `iss`.")
    audience: str = Field("", description="What a JSON Web Token has to say as, or among, `aud`.")
    algorithms: Annotated[tuple[SigningAlgorithm, ...], *FROM_ONE_TEXT] = Field(
        tuple(SigningAlgorithm), min_length=1, description="The algorithms by which a JSON Web Token may be signed."
    )
    leeway_s: float = Field(30.0, ge=0, description="Seconds by which the issuer's clock may differ.")
    claim: str = Field("sub", min_length=1, description="The claim of a JSON Web Token that names the caller.")

    @model_validator(mode="after")
    def _meant_for_us(self) -> Self:
        if self.jwks_file and not (self.issuer and self.audience):
            raise ValueError("set `issuer` and `audience`, else tokens for other services would be taken as well")
        return self


class AuthSettings(Section):
    """How callers prove who they are, besides the tokens and certificates of `identities`."""

    jwt: JwtSettings = JwtSettings()
    metadata_key: str | None = Field(
        None,
        description="The metadata key in which a service mesh names the caller. Only for a server that can't be "
        "reached but through the mesh, which has to overwrite what callers send there.",
    )

    @field_validator("metadata_key")
    @classmethod
    def _is_a_text(cls, key: str | None) -> str | None:
        if key and (key != key.lower() or key == "authorization" or key.startswith("grpc-") or key.endswith("-bin")):
            raise ValueError("a key in lower case, and none that gRPC or bearer tokens use")
        return key or None


class Access(Section):
    """What a caller may use, and how much of it."""

    models: Names = Field(("*",), description="The models that may be used; wildcards as in file names.")
    weight: float = Field(1.0, gt=0, description="The share of a busy server, relative to that of others.")
    max_concurrent_calls: int | None = Field(None, ge=1, description="The most calls at a time. Unset: no limit.")
    tokens_per_minute: int | None = Field(
        None, ge=1, description="The most tokens a minute, of prompts and answers together. Unset: no limit."
    )


class AnonymousSettings(Access):
    """Callers without credentials, or whose certificate, token or name is of no identity."""

    allowed: bool | None = Field(
        None, description="Whether callers of no identity are served. Unset: only where there are no identities."
    )
    methods: Names | None = Field(
        None,
        description="The methods for callers of no identity, as Service/Method; wildcards as in file names. Unset: all "
        "where only this machine reaches the server and there are no identities and no client certificates, else as "
        "those of an identity.",
    )


class IdentitySettings(Access):
    """A caller with a name, and how the server knows it."""

    name: str = Field(min_length=1, description="What logs and limits call it.")
    token: SecretStr | None = Field(None, description="Its bearer token.")
    token_file: Path | None = Field(
        None, description="A file of its bearer tokens, one a line, read anew when it has changed."
    )
    subjects: Names = Field((), description="What a JSON Web Token or the mesh calls it; wildcards as in file names.")
    sans: Names = Field(
        (),
        description="The names in its client certificate (SAN: DNS, URI, IP address, e-mail); wildcards as in file "
        "names.",
    )
    methods: Names = Field(
        USUAL_METHODS,
        description="The methods it may call, as Service/Method; wildcards as in file names. A pattern means "
        "AdminService, RegisterModel and UnregisterModel only where it begins with the name of the service.",
    )

    @field_validator("name")
    @classmethod
    def _not_anonymous(cls, name: str) -> str:
        if name == ANONYMOUS:
            raise ValueError("this is the name of callers of no identity; the section `anonymous` is about them")
        return name

    @field_validator("token")
    @classmethod
    def _can_be_sent(cls, token: SecretStr | None) -> SecretStr | None:
        if token is not None and not can_be_sent(token.get_secret_value()):
            raise ValueError("a token is made of printable ASCII without spaces")
        return token

    @model_validator(mode="after")
    def _can_be_known(self) -> Self:
        if not (self.token or self.token_file or self.subjects or self.sans):
            raise ValueError("set `token`, `token_file`, `subjects` or `sans`, else nobody is this identity")
        return self


def names_method(pattern: str, method: str) -> bool:
    """Whether a pattern means a method, as Service/Method.

    A wildcard alone never means what changes the server for everybody: AdminService, and the registration of models.
    """
    service = method.partition("/")[0]
    guarded = service == ADMIN_SERVICE or method in REGISTRATION_METHODS
    return fnmatchcase(method, pattern) and (not guarded or pattern.startswith(service))


def can_be_sent(token: str) -> bool:
    """Whether gRPC's metadata can carry a token."""
    return token != "" and all("!" <= character <= "~" for character in token)
