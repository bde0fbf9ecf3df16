"""The guard before every request and behind every answer: token and host, sizes, rates, headers, the last catch.

HEAD is answered as GET is, without the body.
"""

from __future__ import annotations

import ipaddress
import logging
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.observability.log_lines import printable
from app.web.access import Access, Role, bearer_of
from app.web.errors import error_response
from app.web.turns import Pace

logger = logging.getLogger(__name__)

_ROLE: Final = "aggregator.role"  # key of a request's scope: what its sender may do
STATIC: Final = "/static/"  # files of the dashboard's page, which carry no data
_UNGUARDED: Final = frozenset({"/", "/healthz", "/readyz"})  # need no token
_UNCOUNTED: Final = frozenset({"/healthz", "/readyz"})  # probes must get through when others ask too often

# Bytes of a request.
MAX_ADDRESS: Final = 8 * 1024
MAX_HEADERS: Final = 16 * 1024
MAX_BODY: Final = 4 * 1024

_NOT_GIVEN: Final = (
    "no token was given as `Authorization: Bearer TOKEN`: this needs the one that is set as AGG_WEB_TOKEN or "
    "AGG_WEB_READ_TOKEN"
)
_NOT_RIGHT: Final = "the token is wrong: this needs the one that is set as AGG_WEB_TOKEN or AGG_WEB_READ_TOKEN"

# A client's requests, and those of them that had no right token: a second, and at once.
_RATE, _BURST = 100.0, 400.0
_FILES_RATE, _FILES_BURST = 1000.0, 6000.0  # a page has sixty files, and without one of them shows nothing
_WRONG_RATE, _WRONG_BURST = 2.0, 100.0
_TRUSTED_SECONDS: Final = 60.0  # since a right token, in which wrong ones of the same client lock nobody out
CLIENTS: Final = 10_000  # that are remembered; another client has a full bucket
_V6_NETWORK: Final = 64  # bits of the prefix

CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_CACHE: Final = b"cache-control"
HEADERS: Final[tuple[tuple[bytes, bytes], ...]] = (
    (b"content-security-policy", CSP.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (_CACHE, b"no-store"),
)
_OURS: Final = frozenset(name for name, _ in HEADERS)


class Guard:
    """ASGI middleware: our headers on every answer, a 500 that gives nothing away, and only what `Access` allows.

    Without the token every path has the same answer, whether it exists or not, except the few that carry no data: it
    says whether a token was given, and nothing more about it.
    """

    def __init__(self, app: ASGIApp, access: Access, pace: Pace, clock: Callable[[], float] = time.monotonic) -> None:
        self._app = app
        self._access = access
        self._pace = pace
        self._clock = clock
        self._requests = Buckets(rate=_RATE, burst=_BURST, clock=clock)
        self._files = Buckets(rate=_FILES_RATE, burst=_FILES_BURST, clock=clock)
        self._wrong_tokens = Buckets(rate=_WRONG_RATE, burst=_WRONG_BURST, clock=clock)
        self._trusted: dict[str, float] = {}  # client -> when it last had the right token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request; anything else goes through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False
        path: str = scope["path"]
        is_head = scope["method"] == "HEAD"

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message = {**message, "headers": _with_ours(message.get("headers", ()), static=path.startswith(STATIC))}
            elif is_head:
                message = {**message, "body": b""}
            await send(message)

        if is_head:
            scope = {**scope, "method": "GET"}
        try:
            refusal = self._refusal(scope)
            if refusal is None and _carries_data(path):
                await self._pace.enter()
            await (refusal or self._app)(scope, _bounded(receive), send_with_headers)
        except Exception:
            if started:
                raise
            logger.exception("%s %s failed", scope["method"], printable(path))
            answer = error_response(HTTPStatus.INTERNAL_SERVER_ERROR, "this is a bug; the worker's log has the details")
            await answer(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> ASGIApp | None:
        if not self._access.has_host(_values(scope, b"host")):
            return error_response(
                HTTPStatus.BAD_REQUEST,
                "the Host header must name this worker: loopback, AGG_WEB_HOST, or the host of AGG_WEB_ADVERTISED_URL",
                code="bad-host",
            )
        if scope["path"] in _UNCOUNTED:
            return None
        client = client_of(scope["client"][0] if scope.get("client") else "")
        counted = self._files if scope["path"].startswith(STATIC) else self._requests
        if not counted.take(client):
            return _too_many("requests", counted.seconds_until_one(client))
        if (too_large := _too_large(scope)) is not None:
            return too_large
        if not _carries_data(scope["path"]):
            return None
        return self._without_token(scope, client)

    def _without_token(self, scope: Scope, client: str) -> ASGIApp | None:
        # A client that guesses, and has not sent the right token lately, does not even learn when a guess is right.
        locked_out = not self._wrong_tokens.has(client) and not self._is_trusted(client)
        authorizations = _values(scope, b"authorization")
        role = None if locked_out else self._access.role_of(authorizations)
        if role is not None:
            scope[_ROLE] = role
            if role is not Role.ANYONE:
                self._trust(client)
            return None
        if not self._wrong_tokens.take(client):
            return _too_many("requests without the right token", self._wrong_tokens.seconds_until_one(client))
        message = _NOT_GIVEN if bearer_of(authorizations) is None else _NOT_RIGHT
        return error_response(HTTPStatus.UNAUTHORIZED, message, headers={"www-authenticate": "Bearer"})

    def _trust(self, client: str) -> None:
        now = self._clock()
        self._trusted.pop(client, None)
        self._trusted[client] = now
        while now - next(iter(self._trusted.values())) > _TRUSTED_SECONDS:
            del self._trusted[next(iter(self._trusted))]

    def _is_trusted(self, client: str) -> bool:
        return self._clock() - self._trusted.get(client, -math.inf) <= _TRUSTED_SECONDS


def _carries_data(path: str) -> bool:
    return path not in _UNGUARDED and not path.startswith(STATIC)


def role_of(request: Request) -> Role:
    """Return what the sender of a request that has passed the guard may do."""
    role: Role = request.scope[_ROLE]
    return role


_TOO_LARGE: Final = f"a request's body may have {MAX_BODY} bytes at most"


def _values(scope: Scope, name: bytes) -> list[bytes]:
    return [value for given, value in scope["headers"] if given.lower() == name]


def _too_large(scope: Scope) -> JSONResponse | None:
    if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > MAX_ADDRESS:
        message = f"an address may have {MAX_ADDRESS} bytes at most"
        return error_response(HTTPStatus.REQUEST_URI_TOO_LONG, message, code="address-too-long")
    if sum(len(name) + len(value) for name, value in scope["headers"]) > MAX_HEADERS:
        message = f"headers may have {MAX_HEADERS} bytes at most"
        return error_response(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, message, code="headers-too-large")
    lengths = _values(scope, b"content-length")
    if not all(length.isdigit() and int(length[:9]) <= MAX_BODY for length in lengths):
        return error_response(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _TOO_LARGE, code="too-large")
    return None


def _bounded(receive: Receive) -> Receive:
    """Bound the body, whose length may be missing or wrong."""
    size = 0

    async def receive_some() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > MAX_BODY:
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _TOO_LARGE)
        return message

    return receive_some


def _with_ours(theirs: list[tuple[bytes, bytes]], *, static: bool) -> list[tuple[bytes, bytes]]:
    """Put our headers in place of the answer's; only static files say themselves how long they may be kept."""
    kept = [header for header in theirs if header[0].lower() not in _OURS or (static and header[0].lower() == _CACHE)]
    own_cache = static and any(name.lower() == _CACHE for name, _ in kept)
    return [*kept, *(header for header in HEADERS if header[0] != _CACHE or not own_cache)]


def _too_many(what: str, seconds: float) -> JSONResponse:
    wait = max(1, math.ceil(seconds))
    return error_response(
        HTTPStatus.TOO_MANY_REQUESTS, f"too many {what}; try again in {wait} s", headers={"retry-after": str(wait)}
    )


class Buckets:
    """A bucket of tokens for each client, refilled at a steady rate: how often anyone may ask. Pure."""

    def __init__(self, *, rate: float, burst: float, clock: Callable[[], float]) -> None:
        """Fill all buckets.

        Args:
            rate: tokens a second that come back.
            burst: tokens of a full bucket.
            clock: seconds, from any beginning.
        """
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # client -> tokens, and when that was

    def has(self, client: str) -> bool:
        """Say whether there is a token left."""
        return self._tokens(client) >= 1.0

    def take(self, client: str) -> bool:
        """Take a token; false, and nothing is taken, when there is none."""
        tokens = self._tokens(client)
        taken = tokens >= 1.0
        self._left[client] = (tokens - 1.0 if taken else tokens, self._clock())
        self._left.move_to_end(client)
        if len(self._left) > CLIENTS:
            self._left.popitem(last=False)
        return taken

    def seconds_until_one(self, client: str) -> float:
        """Return the seconds until there is a token again."""
        return max(0.0, (1.0 - self._tokens(client)) / self._rate)

    def _tokens(self, client: str) -> float:
        tokens, since = self._left.get(client, (self._burst, self._clock()))
        return min(self._burst, tokens + max(0.0, self._clock() - since) * self._rate)


def client_of(address: str) -> str:
    """Return the client behind an address.

    Loopback is one client, and so is a network of IPv6 (/64), in which one machine may have any number of addresses.
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is None and not parsed.is_loopback:
            return str(ipaddress.ip_network((parsed, _V6_NETWORK), strict=False))
        parsed = parsed.ipv4_mapped or ipaddress.IPv4Address("127.0.0.1")
    return "127.0.0.1" if parsed.is_loopback else str(parsed)
