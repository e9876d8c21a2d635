"""Whether the certificates of TLS can be used, and what callers are known by."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from service.cli.diagnosis.finding import Finding, Level, ok, problem, warning
from service.server.auth import Authenticator
from service.server.start_errors import UnusableFile
from service.server.tls import server_credentials
from service.settings import Settings

SOON = timedelta(days=21)
OTHERS_MAY_READ = 0o077
REPLACE = "Replace it; a running server takes the new one up."


def check_certificates(settings: Settings) -> Iterator[Finding]:
    tls = settings.tls
    if not (tls.certificate and tls.key):
        yield ok("TLS", "none: the server is reached unencrypted")
        return
    found = [*_certificate(tls.certificate, tls.key), *([*_authorities(tls.client_ca)] if tls.client_ca else [])]
    yield from found
    if all(finding.level is not Level.PROBLEM for finding in found):
        yield from _as_the_server_reads_them(settings)


def check_callers(settings: Settings) -> Iterator[Finding]:
    """Tokens and keys, read as the server reads them."""
    try:
        Authenticator(settings)
    except UnusableFile as error:
        yield problem("identities", str(error), "Correct the file, or the setting that names it.")
        return
    who = f"{len(settings.identities)} identities" if settings.identities else "none"
    yield ok("identities", who + ("; callers without one are served" if settings.anonymous_allowed else ""))


def _certificate(file: Path, key_file: Path) -> Iterator[Finding]:
    subject = "certificate"
    try:
        chain = x509.load_pem_x509_certificates(file.read_bytes())
    except (OSError, ValueError) as error:
        yield problem(subject, f"{file} can't be used: {_reason(error)}", "Give a PEM file, the server's own first.")
        return
    own = chain[0]
    yield _in_time(subject, own)
    yield _names(own)
    if not _for_servers(own):
        yield problem(subject, "it is not meant for servers", "Have one issued with the extended usage serverAuth.")
    if broken := _out_of_order(chain):
        yield warning(subject, f"its chain is broken behind {broken}", "Put each issuer behind the one it has issued.")
    yield _key(key_file, own)


def _in_time(subject: str, certificate: x509.Certificate) -> Finding:
    now, end = datetime.now(UTC), certificate.not_valid_after_utc
    if end <= now:
        return problem(subject, f"expired on {end:%Y-%m-%d}", REPLACE)
    if certificate.not_valid_before_utc > now:
        return problem(subject, f"is not valid before {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC", REPLACE)
    if end - now < SOON:
        return warning(subject, f"expires on {end:%Y-%m-%d}", REPLACE)
    return ok(subject, f"valid until {end:%Y-%m-%d}, issued by {certificate.issuer.rfc4514_string() or 'nobody named'}")


def _names(certificate: x509.Certificate) -> Finding:
    """Clients look at nothing else; the common name counts for nothing."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return problem("names", "none (SAN): no client will accept the certificate", "Have one issued with names.")
    return ok("names", ", ".join(str(name.value) for name in names))


def _for_servers(certificate: x509.Certificate) -> bool:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    return bool({ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE} & set(usage))


def _out_of_order(chain: Sequence[x509.Certificate]) -> str | None:
    """The first whose issuer is not the one behind it."""
    for certificate, issuer in pairwise(chain):
        try:
            certificate.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
            return certificate.subject.rfc4514_string() or "the first certificate"
    return None


def _key(file: Path, certificate: x509.Certificate) -> Finding:
    try:
        key = load_pem_private_key(file.read_bytes(), None)
    except TypeError:
        return problem("key", f"{file} has a passphrase", "Store it without one: openssl pkey -in KEY -out NEW")
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        return problem("key", f"{file} can't be used: {_reason(error)}", "Give the private key in PEM.")
    own, certified = (
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        for public in (key.public_key(), certificate.public_key())
    )
    if own != certified:
        return problem("key", f"{file} is not the key of the certificate", "Give the two that belong together.")
    if file.stat().st_mode & OTHERS_MAY_READ:
        return warning("key", "it is the certificate's; others on this machine may read it", f"chmod 600 {file}")
    return ok("key", "it is the certificate's")


def _authorities(file: Path) -> Iterator[Finding]:
    try:
        authorities = x509.load_pem_x509_certificates(file.read_bytes())
    except (OSError, ValueError) as error:
        yield problem("client authorities", f"{file} can't be used: {_reason(error)}", "Give certificates in PEM.")
        return
    for authority in authorities:
        yield _in_time("client authority", authority)


def _as_the_server_reads_them(settings: Settings) -> Iterator[Finding]:
    try:
        server_credentials(settings.tls)
    except UnusableFile as error:
        yield problem("TLS", str(error), "Correct the file.")


def _reason(error: Exception) -> str:
    return (error.strerror or "unreadable") if isinstance(error, OSError) else "it is not PEM"
