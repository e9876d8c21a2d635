"""How hosts are found and connected to: at addresses that were checked, and nowhere else."""

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from aiohttp import AddrInfoType, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector
from aiohttp.abc import AbstractResolver, ResolveResult

from service.images.addresses import is_public

Resolve = Callable[[str, int], Sequence[Any]]
"""As socket.getaddrinfo of streams."""
# That are tried of one host: a name with a thousand addresses is no way to have us knock at all of them.
MOST_ADDRESSES = 4
# Of an answer's head.
MAX_LINE_BYTES, MAX_HEADERS = 8190, 64
HEADERS = {"Accept": "image/*", "Accept-Encoding": "identity", "User-Agent": "inferwire"}


class AddressRefused(OSError):
    """A host has an address that isn't public."""


def system_addresses(host: str, port: int) -> Sequence[Any]:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)


@dataclass(frozen=True, slots=True)
class Network:
    """The world outside. Only tests have another one than this; no setting leads to it."""

    resolve: Resolve = system_addresses
    allows: Callable[[str], bool] = is_public
    tls: ssl.SSLContext | None = None
    """None: as the system trusts."""


class CheckedResolver(AbstractResolver):
    """Finds the addresses of a host. One of them that isn't public, and the host is none for us."""

    def __init__(self, network: Network, threads: Executor) -> None:
        self._network = network
        self._threads = threads

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Raises OSError."""
        loop = asyncio.get_running_loop()
        infos = await loop.run_in_executor(self._threads, self._network.resolve, host, port)
        found = [_result(host, port, info) for info in infos]
        for result in found:
            self.check(result["host"])
        if not found:
            raise OSError("the host has no address")
        return found[:MOST_ADDRESSES]

    def check(self, address: str) -> None:
        """Raises AddressRefused."""
        if not self._network.allows(address):
            raise AddressRefused(f"{address} is no public address")

    def checked_socket(self, info: AddrInfoType) -> socket.socket:
        """Checks once more, at the last moment: whatever the library makes of a host, it connects to nothing else."""
        family, kind, protocol, _, address = info
        self.check(str(address[0]))
        return socket.socket(family, kind, protocol)

    async def close(self) -> None:
        pass


def session(network: Network, tls: ssl.SSLContext, threads: Executor) -> ClientSession:
    """For one image: nothing is kept for the next one, be it a connection, an address or a cookie."""
    resolver = CheckedResolver(network, threads)
    connector = TCPConnector(
        resolver=resolver,
        socket_factory=resolver.checked_socket,
        ssl=tls,
        use_dns_cache=False,
        force_close=True,
        limit=0,
    )
    return ClientSession(
        connector=connector,
        headers=HEADERS,
        cookie_jar=DummyCookieJar(),
        timeout=ClientTimeout(total=None),
        auto_decompress=False,
        trust_env=False,
        max_line_size=MAX_LINE_BYTES,
        max_field_size=MAX_LINE_BYTES,
        max_headers=MAX_HEADERS,
    )


def _result(host: str, port: int, info: Any) -> ResolveResult:
    family, _, protocol, _, address = info
    return ResolveResult(
        hostname=host,
        host=str(address[0]),
        port=port,
        family=family,
        proto=protocol,
        flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
    )
