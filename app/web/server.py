"""The web server of a worker: uvicorn on the worker's own event loop, as a service that Faust starts and stops.

It speaks HTTP/1.1, bounded in connections and in time. Answers that uvicorn gives by itself, before there is a request
that the application could see, have our form and our headers.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, Final

import h11
import uvicorn
from mode import Service
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from app.web.access import http_url
from app.web.errors import error_response
from app.web.guard import HEADERS
from app.words import words

MAX_CONNECTIONS: Final = 512
REQUEST_SECONDS: Final = 10.0  # for a request to come in full, from the connection or its first byte on
_BACKLOG: Final = 128
_PATIENCE: Final = 0.5  # seconds that answers under way have when the server stops, and again to be torn down


class WebAddressError(Exception):
    """The server can't listen where the settings say; the text names them and tells what to do."""


class PortTaken(WebAddressError):  # noqa: N818 - says it
    """Another program listens on the port."""


class _Uvicorn(uvicorn.Server):
    """Leaves signals to the worker, which stops this server like its other services."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _BoundedProtocol(H11Protocol):
    """Closes a connection that is one too many, or whose request does not come."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn's is so, too
        """Take a connection, or close it when there are too many."""
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
        else:
            self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_watching()
        super().connection_lost(exc)

    def _watch(self) -> None:
        """Start the clock of a request that is not there in full, or stop it."""
        if self.conn.their_state not in {h11.IDLE, h11.SEND_BODY}:
            self._stop_watching()
        elif self._patience is None:
            self._patience = self.loop.call_later(REQUEST_SECONDS, self.transport.abort)

    def _stop_watching(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def send_400_response(self, msg: str) -> None:
        """Refuse bytes that are no HTTP request."""
        answer = error_response(HTTPStatus.BAD_REQUEST, msg)
        headers = [*answer.raw_headers, *HEADERS, (b"connection", b"close")]
        events: tuple[h11.Event, ...] = (
            h11.Response(status_code=answer.status_code, headers=headers, reason=b"Bad Request"),
            h11.Data(data=bytes(answer.body)),
            h11.EndOfMessage(),
        )
        for event in events:
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


class WebServer(Service):
    """Serves an ASGI application on one address.

    The port is taken by `bind`, or by the start if that was not called before.
    """

    def __init__(
        self,
        web: ASGIApp,
        *,
        host: str,
        port: int,
        on_close: Callable[[], Awaitable[None]] | None = None,
        **options: Any,
    ) -> None:
        """Create a server that is not listening yet.

        Args:
            web: the application that is served.
            host: address to listen on; a name is taken as IPv4.
            port: 0 for a free one.
            on_close: awaited when it has stopped.
            options: of mode.Service.
        """
        super().__init__(**options)
        self._web = web
        self._host = host
        self._port = port
        self._on_close = on_close
        self._socket: socket.socket | None = None
        self._server: _Uvicorn | None = None
        self._serving: asyncio.Future[Any] | None = None

    @property
    def port(self) -> int:
        """Port that is listened on; before `bind` the one that was asked for, which may be 0."""
        return self._port

    @property
    def url(self) -> str:
        """URL of the server on this machine."""
        return http_url(self._host, self._port)

    def bind(self) -> socket.socket:
        """Take the port; connections wait until the server has started. Returns the socket, the same one when repeated.

        Raises:
            PortTaken: Another program listens on it.
            WebAddressError: The address is not this machine's, or may not be listened on.
        """
        if self._socket is not None:
            return self._socket
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        try:
            listening = socket.socket(family, socket.SOCK_STREAM)
        except OSError as error:
            raise self._unusable(error) from error
        try:
            # A port whose last connections linger is free; one with a listener is still refused.
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((self._host, self._port))
            listening.listen(_BACKLOG)
            listening.setblocking(False)
        except OSError as error:
            listening.close()
            raise self._unusable(error) from error
        self._socket = listening
        self._port = listening.getsockname()[1]
        return listening

    def _unusable(self, error: OSError) -> WebAddressError:
        if error.errno == errno.EADDRINUSE:
            taken = words(
                "AGG_WEB_PORT={port}: another program listens on port {port} of {host}; stop it, or set AGG_WEB_PORT "
                "to another port (0: any that is free)",
                "AGG_WEB_PORT={port}：{host} 的端口 {port} 已被另一个程序占用；请停止该程序，"
                "或把 AGG_WEB_PORT 设为其他端口（0 表示任选空闲端口）",
                port=self._port,
                host=self._host,
            )
            return PortTaken(taken)
        unusable = words(
            "AGG_WEB_HOST={host}, AGG_WEB_PORT={port}: can't listen there: {error}; set them to an address of this "
            "machine and a port that this user may use",
            "AGG_WEB_HOST={host}、AGG_WEB_PORT={port}：无法在此监听：{error}；请设为本机的地址和该用户可用的端口",
            host=self._host,
            port=self._port,
            error=error.strerror or error,
        )
        return WebAddressError(unusable)

    async def on_start(self) -> None:
        """Take the port if need be, and serve."""
        self.bind()
        config = uvicorn.Config(
            self._web,
            interface="asgi3",
            loop="none",
            http=_BoundedProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="warning",  # of uvicorn's own loggers: its notices speak of a process and of Ctrl-C
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=_BACKLOG,
        )
        self._server = _Uvicorn(config)
        self._serving = self.add_future(self._server.serve(sockets=[self._socket] if self._socket else []))

    async def on_stop(self) -> None:
        """Stop listening and close all connections; what is still being answered after half a second is cut off."""
        if self._server is not None and self._serving is not None:
            self._server.should_exit = True
            await asyncio.wait({self._serving}, timeout=_PATIENCE)
            for connection in list(self._server.server_state.connections):
                connection.transport.abort()
            await asyncio.wait({self._serving}, timeout=_PATIENCE)
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._on_close is not None:
            await self._on_close()
