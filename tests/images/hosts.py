"""Hosts on this machine that count who connects, and the names by which they are found."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain, repeat
from typing import Any

import trustme
from prometheus_client import CollectorRegistry

from service.api.content import ImageContentItem
from service.images.addresses import is_public
from service.images.loaded import LoadedImage
from service.images.network import Network
from service.images.sources import ImageSources
from service.settings.images import FetchSettings
from service.telemetry.metrics import FetchOutcome, ImageMetrics

# Where images may be fetched from in these tests, and where they never may.
OUTSIDE, INSIDE = "127.0.0.1", "127.0.0.2"
PICTURE = b"\x89PNG\r\n\x1a\n, or so"
MAX_BYTES = 1000
PATIENCE_S = 10
FIELD = "messages[2].tool.content.items.items[0].image"

Answer = bytes | Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
"""What a host writes, head and all, or how it does so."""


@dataclass
class Host:
    """Listens at one address, and answers by path."""

    answers: Mapping[str, Answer] = field(default_factory=dict)
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)
    """Their heads."""
    port: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            self.requests.append(head)
            answer = self.answers.get(head.split(b" ")[1].decode(), plain(b"", status="404 Not Found"))
            if isinstance(answer, bytes):
                writer.write(answer)
                await writer.drain()
            else:
                await answer(reader, writer)
        writer.close()


def plain(body: bytes, *headers: str, status: str = "200 OK", mime_type: str = "image/png") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {mime_type}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def redirect(location: str, status: int = 302) -> bytes:
    return f"HTTP/1.1 {status} Elsewhere\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()


def endlessly(head: bytes, more: bytes = b"") -> Answer:
    """Never ends by itself; without `more` it says no more."""

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while more and not writer.is_closing():
            writer.write(more)
            await writer.drain()
            await asyncio.sleep(0)
        await asyncio.Event().wait()

    return answer


class Held:
    """An answer that comes when it is let go. `most` is how many ever waited for it at once."""

    def __init__(self) -> None:
        self.waiting = self.most = 0
        self.go = asyncio.Event()
        self.left = asyncio.Event()
        """When somebody didn't wait any longer."""
        self._arrived = asyncio.Condition()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        async with self._arrived:
            self._arrived.notify_all()
        gone = asyncio.create_task(reader.read())
        let_go = asyncio.create_task(self.go.wait())
        await asyncio.wait((gone, let_go), return_when=asyncio.FIRST_COMPLETED)
        if gone.done():
            self.left.set()
        for task in (gone, let_go):
            task.cancel()
        self.waiting -= 1
        writer.write(plain(PICTURE))
        await writer.drain()

    async def wait_for(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE_S), self._arrived:
            await self._arrived.wait_for(lambda: self.waiting >= count)


@asynccontextmanager
async def listening(
    host: Host, address: str = OUTSIDE, port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[None]:
    """Counts also who doesn't get through TLS."""
    served = set[asyncio.Task[None]]()

    async def accept(listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            connection, _ = await loop.sock_accept(listener)
            host.connections += 1
            task = asyncio.create_task(serve(connection))
            served.add(task)
            task.add_done_callback(served.discard)

    async def serve(connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        try:
            transport, _ = await loop.connect_accepted_socket(lambda: protocol, connection, ssl=tls)
        except OSError:
            connection.close()
            return
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        try:
            await host.serve(reader, writer)
        finally:
            transport.abort()

    with socket.create_server((address, port)) as listener:
        listener.setblocking(False)
        host.port = listener.getsockname()[1]
        accepting = asyncio.create_task(accept(listener))
        try:
            yield
        finally:
            for task in (accepting, *served):
                task.cancel()
            await asyncio.gather(accepting, *served, return_exceptions=True)


class Names:
    """Resolves the names that it was told, and notes which were asked for. Several answers come one after the other."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._answers: dict[str, Any] = {}

    def tell(self, host: str, *answers: Sequence[str]) -> None:
        """Each answer is a list of addresses; the last one is repeated."""
        self._answers[host] = chain(answers, repeat(answers[-1]))

    def addresses(self, host: str, port: int) -> Sequence[Any]:
        self.asked.append(host)
        if host not in self._answers:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [_info(address, port) for address in next(self._answers[host])]


def _info(address: str, port: int) -> Any:
    kind = (socket.AF_INET6, (address, port, 0, 0)) if ":" in address else (socket.AF_INET, (address, port))
    return kind[0], socket.SOCK_STREAM, socket.IPPROTO_TCP, "", kind[1]


async def loaded(sources: ImageSources, image: ImageContentItem) -> LoadedImage:
    [its] = await all_loaded(sources, [(FIELD, image)])
    return its


async def all_loaded(
    sources: ImageSources, images: Sequence[tuple[str, ImageContentItem]], caller: str = "me"
) -> list[LoadedImage]:
    async with sources.loaded(images, caller) as whole:
        return whole


class Certificates:
    """Of hosts. Made once for each set of names, as that takes a while."""

    def __init__(self) -> None:
        self._authority = trustme.CA()
        self._made: dict[tuple[str, ...], ssl.SSLContext] = {}
        self.trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._authority.configure_trust(self.trust)

    def of(self, *names: str) -> ssl.SSLContext:
        if names not in self._made:
            self._made[names] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._authority.issue_cert(*names).configure_cert(self._made[names])
        return self._made[names]


class Outside:
    """Two hosts at the same port: `host`, which images may come from, and `inside`, where nobody may ever connect."""

    def __init__(self, certificates: Certificates) -> None:
        self.host, self.inside = Host(), Host()
        self.names = Names()
        self.names.tell("images.test", [OUTSIDE])
        self._certificates = certificates
        self._registry = CollectorRegistry()
        self._metrics = ImageMetrics(self._registry)

    @property
    def port(self) -> int:
        return self.host.port

    def url(self, path: str = "/", host: str = "images.test") -> str:
        return f"https://{host}:{self.port}{path}"

    def sources(
        self, allows: Callable[[str], bool] | None = None, max_bytes: int = MAX_BYTES, **fetch: Any
    ) -> ImageSources:
        rules = {"allowed_hosts": (f"images.test:{self.port}", f"*.cdn.test:{self.port}"), **fetch}
        return ImageSources(max_bytes, FetchSettings(**rules), self._metrics, self.network(allows))

    def network(self, allows: Callable[[str], bool] | None = None) -> Network:
        return Network(
            resolve=self.names.addresses,
            allows=allows or (lambda address: address == OUTSIDE or is_public(address)),
            tls=self._certificates.trust,
        )

    def fetches(self, outcome: FetchOutcome) -> float | None:
        return self._registry.get_sample_value("inferwire_image_fetches_total", {"outcome": outcome})

    def timed_fetches(self) -> float | None:
        return self._registry.get_sample_value("inferwire_image_fetch_duration_seconds_count")

    @asynccontextmanager
    async def open(self, names: Sequence[str] = ("images.test", "*.cdn.test")) -> AsyncIterator["Outside"]:
        """`names` are those of the certificate."""
        tls = self._certificates.of(*names)
        async with listening(self.host, OUTSIDE, tls=tls), listening(self.inside, INSIDE, self.host.port):
            yield self
