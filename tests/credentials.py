"""Certificates, keys and tokens that are made for a test."""

import base64
import hashlib
import hmac
import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from service.client import Tls

ISSUER, AUDIENCE = "https://issuer.example", "inferwire"
YESTERDAY = datetime.now(UTC) - timedelta(days=1)


def replace(file: Path, content: bytes) -> None:
    """By another file, which can be told from the old one however soon it comes and however long it is."""
    new = file.with_name(f"{file.name}.new")
    new.write_bytes(content)
    new.replace(file)


class Authority:
    """An authority that signs certificates, and the folder they are written to."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self._folder = folder
        self._authority = trustme.CA()
        self.file = folder / f"{name}.pem"
        self._authority.cert_pem.write_to_path(str(self.file))

    def issue(self, name: str, *names: str, expired: bool = False) -> tuple[Path, Path]:
        """Files of a certificate for `names` and of its key. The same `name` replaces them."""
        lifetime = {"not_before": YESTERDAY - timedelta(days=1), "not_after": YESTERDAY} if expired else {}
        issued = self._authority.issue_cert(*names, **lifetime)
        certificate, key = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        replace(certificate, b"".join(part.bytes() for part in issued.cert_chain_pems))
        replace(key, issued.private_key_pem.bytes())
        return certificate, key

    def issue_workload(self, name: str, uri: str) -> tuple[Path, Path]:
        """As `issue`, for a name as meshes give them (SPIFFE), which trustme doesn't know."""
        own = ec.generate_private_key(ec.SECP256R1())
        authority = x509.load_pem_x509_certificate(self._authority.cert_pem.bytes())
        signer = load_pem_private_key(self._authority.private_key_pem.bytes(), None)
        assert isinstance(signer, ec.EllipticCurvePrivateKey)
        issued = (
            x509.CertificateBuilder(authority.subject, x509.Name([]), own.public_key(), x509.random_serial_number())
            .not_valid_before(YESTERDAY)
            .not_valid_after(YESTERDAY + timedelta(days=3))
            .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), critical=True)
            .sign(signer, SHA256())
        )
        certificate, key = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        replace(certificate, issued.public_bytes(Encoding.PEM))
        replace(key, own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return certificate, key

    def tls(self, *own: Path, server_name: str | None = None) -> Tls:
        """What a client needs that trusts this authority; `own` are the files of its own certificate."""
        certificate, key = own or (None, None)
        return Tls(self.file, certificate, key, server_name)


class Issuer:
    """Somebody who signs JSON Web Tokens with one key at a time."""

    def __init__(self, jwks_file: Path, key_id: str = "key-1") -> None:
        self._jwks_file = jwks_file
        self.rotate(key_id)

    def rotate(self, key_id: str) -> None:
        """From now on signs with a new key, and publishes no other."""
        self._key, self._key_id = ec.generate_private_key(ec.SECP256R1()), key_id
        replace(self._jwks_file, json.dumps({"keys": [self._public()]}).encode())

    def _public(self) -> dict[str, Any]:
        public = jwt.algorithms.ECAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        return {**public, "kid": self._key_id, "use": "sig", "alg": "ES256"}

    @property
    def settings(self) -> dict[str, Any]:
        return {"jwks_file": self._jwks_file, "issuer": ISSUER, "audience": AUDIENCE, "leeway_s": 0}

    def token(self, subject: Any = "alice", *, key_id: str | None = None, **changed: Any) -> str:
        """Claims that are None are left out."""
        now = int(time.time())
        claims = {"sub": subject, "iss": ISSUER, "aud": AUDIENCE, "exp": now + 600, "nbf": now - 1, **changed}
        given = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(given, self._key, "ES256", headers={"kid": key_id or self._key_id})

    def unsigned(self) -> str:
        _, payload, _ = self.token().split(".")
        return f"{_encoded({'alg': 'none', 'typ': 'JWT', 'kid': self._key_id})}.{payload}."

    def signed_with_the_public_key(self) -> str:
        """As if the key that anybody may know were a shared secret."""
        _, payload, _ = self.token().split(".")
        signed = f"{_encoded({'alg': 'HS256', 'typ': 'JWT', 'kid': self._key_id})}.{payload}"
        public = self._key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return f"{signed}.{_base64(hmac.digest(public, signed.encode(), hashlib.sha256))}"


def _encoded(header: dict[str, str]) -> str:
    return _base64(json.dumps(header).encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
