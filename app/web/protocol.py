"""HTTP/1.1 as uvicorn speaks it, but bounded in connections and in time, and refusing in our form.

What uvicorn answers by itself, before there is a request that the application could see, has our headers too.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from app.web.errors import error_response
from app.web.guard import HEADERS

__all__ = ["BoundedProtocol"]

MAX_CONNECTIONS: Final = 512
REQUEST_SECONDS: Final = 10.0  # for a request to come in full, from the connection or its first byte on


class BoundedProtocol(H11Protocol):
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
        """Take some of a request."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """End with the connection."""
        self._stop_watching()
        super().connection_lost(exc)

    def _watch(self) -> None:
        """Give a request that is not there in full some time, from when it was first missed on."""
        if self.conn.their_state not in {h11.IDLE, h11.SEND_BODY}:
            self._stop_watching()
        elif self._patience is None:
            self._patience = self.loop.call_later(REQUEST_SECONDS, self.transport.abort)

    def _stop_watching(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP request."""
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
