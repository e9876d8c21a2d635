"""Which machines of a model are there: each of the others holds a connection to the first for as long as its part runs.

vLLM waits for a rank that is missing without a word, and doesn't notice one that is gone. One JSON line each way:
`{"model": ..., "machine": ...}`, and when all are there `{"start": true}`, or at once `{"refused": why}` for good or
`{"busy": why}` for now. The end of the connection is the end of the part, for both.
"""

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from service.errors import EngineFailed
from service.settings.layout import Layout

logger = logging.getLogger(__name__)

HELLO_S = 10.0
LINE_BYTES = 4096
# A machine that loses its power says nothing.
KEEPALIVE = ((socket.TCP_KEEPIDLE, 10), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 3))


class Refused(Exception):
    """The first machine has no place for this one. The message says why."""


class RollCall:
    """On the first machine."""

    def __init__(self, model_id: str, layout: Layout, port: int) -> None:
        self._model_id = model_id
        self._layout = layout
        self._port = port
        self._present: dict[int, asyncio.StreamWriter] = {}
        self._lost: list[int] = []
        self._changed = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._begun = False

    @property
    def missing(self) -> Sequence[str]:
        """What hasn't reported, while it is waited for."""
        if not self._server or self._begun:
            return ()
        return [self._named(node) for node in range(1, self._layout.nodes) if node not in self._present]

    @property
    def lost(self) -> Sequence[str]:
        """What has reported and is gone."""
        return [self._named(node) for node in self._lost]

    async def begin(self, timeout_s: float) -> None:
        """Returns when all are there, and has told them to start. Raises EngineFailed that says which are not."""
        if self._layout.nodes == 1:
            return
        try:
            self._server = await asyncio.start_server(
                self._attend, self._layout.address, self._port, limit=LINE_BYTES, reuse_address=True
            )
        except OSError as error:
            where = f"{self._layout.address}:{self._port}"
            raise EngineFailed(f"The other machines can't report on {where}: {error.strerror}.") from error
        try:
            async with asyncio.timeout(timeout_s):
                while self.missing:
                    logger.info("The model %s waits for %s", self._model_id, ", ".join(self.missing))
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            missing = ", ".join(self.missing)
            await self.end()
            raise EngineFailed(f"After {timeout_s:g} s these had not reported: {missing}.") from None
        self._begun = True
        for writer in self._present.values():
            _send(writer, {"start": True})

    async def loss(self) -> None:
        """Returns when some machine that had started is gone."""
        while not self._lost:
            self._changed.clear()
            await self._changed.wait()

    async def end(self) -> None:
        """Ends the parts of all other machines. They report anew, as soon as there is somebody to report to."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        for writer in self._present.values():
            writer.close()
        self._present.clear()
        self._lost.clear()
        self._begun = False

    async def _attend(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Holds the connection of one machine."""
        _keep_alive(writer)
        node = None
        try:
            hello = await asyncio.wait_for(_line(reader), HELLO_S)
            if why := self._objection(hello):
                _send(writer, {"refused": why})
                return
            if why := self._hindrance(hello["machine"]):
                _send(writer, {"busy": why})
                return
            node = hello["machine"]
            self._present[node] = writer
            self._changed.set()
            await ended(reader)
        except (OSError, ValueError, TimeoutError):
            pass  # not one of ours, or gone
        finally:
            if node is not None and self._present.get(node) is writer:
                del self._present[node]
                if self._begun:
                    self._lost.append(node)
                self._changed.set()
            writer.close()

    def _objection(self, hello: dict[str, Any]) -> str:
        node = hello.get("machine")
        if hello.get("model") != self._model_id:
            return f"the model here is {self._model_id!r}, not {hello.get('model')!r}"
        if type(node) is not int or not 0 < node < self._layout.nodes:
            return f"the others are machines 1 to {self._layout.nodes - 1}, and it says {node!r}"
        if hello.get("layout") != repr(self._layout):
            return "its settings spread the model otherwise"
        return ""

    def _hindrance(self, node: int) -> str:
        if node in self._present:
            return f"there is a machine {node} already"
        if self._begun:
            return "the model runs already"
        return ""

    def _named(self, node: int) -> str:
        return f"machine {node} ({self._layout.part(node)})"


@dataclass(frozen=True, slots=True)
class Place:
    """What a machine that isn't the first reports."""

    model_id: str
    layout: Layout
    port: int
    node: int


@asynccontextmanager
async def reported(place: Place) -> AsyncIterator[asyncio.StreamReader]:
    """Reports, and is inside when it is time to start. What is yielded ends when the part has to.

    Raises ConnectionError where nobody listens, or nobody any longer, or not yet; Refused.
    """
    try:
        reader, writer = await asyncio.open_connection(place.layout.address, place.port, limit=LINE_BYTES)
    except OSError as error:
        raise ConnectionError(str(error)) from error
    _keep_alive(writer)
    try:
        _send(writer, {"model": place.model_id, "machine": place.node, "layout": repr(place.layout)})
        try:
            answer = await _line(reader)
        except (OSError, ValueError) as error:
            raise ConnectionError("the first machine has ended the connection") from error
        if "refused" in answer:
            raise Refused(answer["refused"])
        if "busy" in answer:
            raise ConnectionError(answer["busy"])
        yield reader
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def ended(connection: asyncio.StreamReader) -> None:
    """Returns at its end; nothing more is said until then."""
    with suppress(OSError):
        while await connection.read(LINE_BYTES):
            pass


async def _line(reader: asyncio.StreamReader) -> dict[str, Any]:
    """Raises ValueError for anything that isn't one line of a JSON object."""
    try:
        line = json.loads(await reader.readline())
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(line, dict):
        raise ValueError("not an object")
    return line


def _send(writer: asyncio.StreamWriter, line: dict[str, Any]) -> None:
    writer.write(json.dumps(line).encode() + b"\n")


def _keep_alive(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in KEEPALIVE:
        connection.setsockopt(socket.IPPROTO_TCP, option, value)
