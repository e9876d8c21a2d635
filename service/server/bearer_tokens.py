"""Bearer tokens that identities share with the server."""

import hmac
from collections.abc import Iterable
from functools import partial
from hashlib import sha256
from pathlib import Path

from service.server.rereading import Reread, read_file
from service.server.start_errors import UnusableFile
from service.settings.access import IdentitySettings, can_be_sent


class BearerTokens:
    """The tokens of all identities, as digests: all of one length, and what isn't kept can't leak."""

    def __init__(self, identities: Iterable[IdentitySettings]) -> None:
        """Raises UnusableFile."""
        self._fixed: list[tuple[IdentitySettings, bytes]] = []
        self._files: list[tuple[IdentitySettings, Reread[list[bytes]]]] = []
        for identity in identities:
            if identity.token:
                self._fixed.append((identity, _digest(identity.token.get_secret_value())))
            if identity.token_file:
                read = partial(_read_digests, identity.token_file)
                self._files.append((identity, Reread([identity.token_file], read)))

    def __bool__(self) -> bool:
        """Whether any identity has tokens."""
        return bool(self._fixed or self._files)

    def owner(self, token: str) -> IdentitySettings | None:
        """Compares with every token to the end, so that the time it takes tells nothing about any of them."""
        given, found = _digest(token), None
        for identity, digest in self._all():
            if hmac.compare_digest(given, digest):
                found = identity
        return found

    def _all(self) -> list[tuple[IdentitySettings, bytes]]:
        from_files = [(identity, digest) for identity, file in self._files for digest in file.current()]
        return self._fixed + from_files


def _digest(token: str) -> bytes:
    return sha256(token.encode()).digest()


def _read_digests(file: Path) -> list[bytes]:
    """One token a line; empty lines count for nothing."""
    lines = [line.strip().decode("latin-1") for line in read_file(file).splitlines()]
    for number, line in enumerate(lines, start=1):
        if line and not can_be_sent(line):
            raise UnusableFile(f"Line {number} of {file} is not a token: one is printable ASCII without spaces.")
    return [_digest(line) for line in lines if line]
