"""TLS: the server's certificate, and the authorities that sign those of clients."""

import ssl
from pathlib import Path

import grpc

from service.server.rereading import Reread, read_file
from service.server.start_errors import UnusableFile
from service.settings.transport import TlsSettings


def server_credentials(settings: TlsSettings) -> grpc.ServerCredentials | None:
    """None without TLS. Raises UnusableFile."""
    if settings.certificate is None or settings.key is None:
        return None
    certificates = Certificates(settings.certificate, settings.key, settings.client_ca)
    # gRPC asks a client for a certificate only if it must have one.
    return grpc.dynamic_ssl_server_credentials(
        certificates.initial,
        certificates.changed,  # type: ignore[arg-type]  # gRPC takes None for "no change"; its type hints don't know
        require_client_authentication=settings.client_ca is not None,
    )


class Certificates:
    """The certificate files, in the form that gRPC takes."""

    def __init__(self, certificate: Path, key: Path, client_ca: Path | None) -> None:
        self._certificate = certificate
        self._key = key
        self._client_ca = client_ca
        self._files = Reread([certificate, key, *([client_ca] if client_ca else [])], self._read)
        self.initial = self._known = self._files.current()

    def changed(self) -> grpc.ServerCertificateConfiguration | None:
        """The new certificates, if they have changed. gRPC asks before each handshake, in a thread of its own."""
        current = self._files.current()
        if current is self._known:
            return None
        self._known = current
        return current

    def _read(self) -> grpc.ServerCertificateConfiguration:
        certificate, key = read_file(self._certificate), read_file(self._key)
        client_ca = read_file(self._client_ca) if self._client_ca else None
        self._check()
        return grpc.ssl_server_certificate_configuration([(key, certificate)], client_ca)

    def _check(self) -> None:
        """gRPC would tell what is wrong only in a log of its own, and at the next handshake."""
        try:
            # The password keeps OpenSSL from asking for one on the terminal.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self._certificate, self._key, "")
        except (OSError, ValueError):
            raise UnusableFile(
                f"{self._certificate} and {self._key} are not a certificate and its private key in PEM."
            ) from None
        try:
            if self._client_ca:
                ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(self._client_ca)
        except (OSError, ValueError):
            raise UnusableFile(f"{self._client_ca} holds no certificates in PEM.") from None
