"""A network that can be cut and slowed: a TCP proxy of ours between two programs, one way and both ways.

Why no network namespaces: they take root and a kernel with veth and netem, which containers of a CI mostly lack, and
brokers that listen on more than loopback. A proxy is there everywhere, cuts one direction of one way, and heals at a
known moment. What is cut is held back, not thrown away, as TCP does with packets that are lost: it goes on when the
network is whole again, if both ends are still there. A connection that is made meanwhile gets no answer.
"""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress

from app.devbroker.config import HOST
from tests.integration.support.background import Background

__all__ = ["Gate", "Link"]

PIECE = 64 * 1024  # bytes


class Way:
    """One direction. Set from any thread.

    Attributes:
        delay: seconds by which each piece comes later.
    """

    def __init__(self) -> None:
        self.delay = 0.0
        self._open = threading.Event()
        self._open.set()

    def cut(self) -> None:
        """Let nothing pass."""
        self._open.clear()

    def heal(self) -> None:
        """Let all pass, at once."""
        self.delay = 0.0
        self._open.set()

    async def passed(self) -> None:
        """Wait until a piece may pass."""
        if self.delay:
            await asyncio.sleep(self.delay)
        while not self._open.is_set():  # noqa: ASYNC110 - set from other threads
            await asyncio.sleep(0.02)


class Link:
    """Both directions between two programs: `there` is from the one that connects, `back` to it."""

    def __init__(self) -> None:
        self.there, self.back = Way(), Way()

    def heal(self) -> None:
        """Make both whole."""
        self.there.heal()
        self.back.heal()


class Gate:
    """Listens on a port of its own and connects to another one; each source has a link of its own."""

    def __init__(self, loop: Background, port: int, target: int, source: Callable[[bytes], int]) -> None:
        """Listen.

        Args:
            loop: runs it.
            port: where it listens.
            target: the port that it connects to.
            source: tells from the first bytes of a connection whose it is.
        """
        self.links: defaultdict[int, Link] = defaultdict(Link)
        self._target = target
        self._source = source
        self._loop = loop
        self._connections: set[asyncio.Task[None]] = set()
        self._server = loop.run(asyncio.start_server(self._serve, HOST, port))

    def close(self) -> None:
        """Take no more connections, and close those that are there."""
        self._loop.run(self._close())

    async def _close(self) -> None:
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.create_task(self._connect(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)
        await asyncio.wait([connection])

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there: asyncio.StreamWriter | None = None
        with suppress(OSError, asyncio.CancelledError):
            first = await reader.read(PIECE)
            link = self.links[self._source(first)]
            answers, there = await asyncio.open_connection(HOST, self._target)
            ways = [
                asyncio.create_task(_pump(reader, there, link.there, first)),
                asyncio.create_task(_pump(answers, writer, link.back)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        for end in (there, writer):
            if end is not None:
                end.close()
                with suppress(OSError):
                    await end.wait_closed()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Way, first: bytes = b"") -> None:
    piece = first or await reader.read(PIECE)
    while piece:
        await way.passed()
        writer.write(piece)
        await writer.drain()
        piece = await reader.read(PIECE)
