"""What stands before every request and behind every answer: the Host check, the headers, and the last catch."""

from __future__ import annotations

import ipaddress
import logging
import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Final

from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.log import printable
from app.web.views import Error, ErrorAnswer

__all__ = ["HEADERS", "Guard", "error_response"]

logger = logging.getLogger(__name__)

HEADERS: Final = (
    (b"content-security-policy", b"default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)
_OURS: Final = frozenset(name for name, _ in HEADERS)
_HOST: Final = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9.-]+))(?::[0-9]{1,5})?", re.ASCII)


def error_response(
    status: HTTPStatus, message: str, *, code: str | None = None, headers: dict[str, str] | None = None
) -> JSONResponse:
    """An error in the form that all errors have; without `code` it is the status's name, such as `not-found`."""
    error = Error(code=code or status.phrase.lower().replace(" ", "-"), message=message)
    return JSONResponse(ErrorAnswer(error=error).model_dump(), status_code=status, headers=headers)


class Guard:
    """ASGI middleware: only loopback as the Host, our headers on every answer, a 500 that gives nothing away.

    A page of another site can have its own name resolve to 127.0.0.1 and so read what is served here (DNS rebinding);
    the Host header then has that name, and is refused.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; what is no request goes through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                theirs = [header for header in message.get("headers", ()) if header[0].lower() not in _OURS]
                message = {**message, "headers": [*theirs, *HEADERS]}
            await send(message)

        try:
            await self._answering(scope)(scope, receive, send_with_headers)
        except Exception:
            if started:
                raise
            logger.exception("%s %s failed", scope["method"], printable(scope["path"]))
            answer = error_response(HTTPStatus.INTERNAL_SERVER_ERROR, "this is a bug; the worker's log has the details")
            await answer(scope, receive, send_with_headers)

    def _answering(self, scope: Scope) -> ASGIApp:
        hosts = [value for name, value in scope["headers"] if name.lower() == b"host"]
        if _is_loopback(hosts):
            return self._app
        return error_response(
            HTTPStatus.BAD_REQUEST,
            "the Host header must be loopback (127.0.0.0/8, ::1 or localhost): nothing else is served",
            code="bad-host",
        )


def _is_loopback(hosts: Iterable[bytes]) -> bool:
    """Whether there is one Host header and it names loopback, with or without a port."""
    names = [_HOST.fullmatch(host.decode("latin-1")) for host in hosts]
    if len(names) != 1 or names[0] is None:
        return False
    name = names[0]["v6"] or names[0]["name"]
    if name.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
