"""What operators may do: who asks for an action, whether there are any, and the line in the log that says so."""

# FastAPI reads annotations while the routes are made, and one is a class that is made there: no `from __future__`.

import logging
from collections.abc import Awaitable, Callable, Coroutine
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import unquote

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from app.observability.log_lines import Line, tell
from app.settings import Settings
from app.web.access import Role
from app.web.errors import Refusal
from app.web.guard import role_of

logger = logging.getLogger(__name__)

OPERATOR: Final = "x-operator"  # header: who asks, by a name of his own
FORBIDDEN: Final = "The workers have no AGG_WEB_TOKEN, or the token is AGG_WEB_READ_TOKEN"
_NAME_CHARACTERS: Final = 64


def action_route(settings: Settings, *, enabled: bool) -> type[APIRoute]:
    """Return the class of routes that are actions: each is refused before it looks at anything, unless it is allowed.

    Whoever asks, and what came of it, is in the log.

    Args:
        settings: the worker's.
        enabled: whether the workers have a token for operators.
    """

    class ActionRoute(APIRoute):
        """Takes the body as JSON, whatever its type says."""

        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()

            async def handle_if_allowed(request: Request) -> Response:
                return await act(settings, request, lambda asked: handle(_with_json(asked)), enabled=enabled)

            return handle_if_allowed

    return ActionRoute


async def act(
    settings: Settings,
    request: Request,
    handle: Callable[[Request], Awaitable[Response]],
    *,
    enabled: bool,
) -> Response:
    """Do what is asked for if that is allowed, and say in the log who asked and what came of it.

    Raises:
        Refusal: there are no actions, or the token only looks; or what `handle` raises.
    """
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    try:
        _check(role_of(request), enabled=enabled)
        answer = await handle(request)
        status = HTTPStatus(answer.status_code)
    except Refusal as refusal:
        status = refusal.status
        raise
    except RequestValidationError:
        status = HTTPStatus.BAD_REQUEST
        raise
    except HTTPException as error:
        status = HTTPStatus(error.status_code)
        raise
    finally:
        _tell(settings, request, status)
    return answer


def _check(role: Role, *, enabled: bool) -> None:
    if not enabled:
        message = "actions need a token: set AGG_WEB_TOKEN for all workers"
        raise Refusal(HTTPStatus.FORBIDDEN, "actions-disabled", message)
    if role is not Role.OPERATOR:
        message = "this token is AGG_WEB_READ_TOKEN, which looks and does not act; actions need AGG_WEB_TOKEN"
        raise Refusal(HTTPStatus.FORBIDDEN, "read-only", message)


def _tell(settings: Settings, request: Request, status: HTTPStatus) -> None:
    role = role_of(request)
    if role is Role.ANYONE:
        return  # there are no actions, and nobody whose name would say anything
    try:
        by = operator_of(request)
    except Refusal:
        by = "?"
    tell(
        logger,
        logging.WARNING if status is HTTPStatus.FORBIDDEN else logging.INFO,
        settings.log_language,
        Line.ACTION,
        by=by,
        address=_address(request),
        role=role.value,
        asked=f"{request.method} {request.url.path}",
        status=int(status),
    )


def operator_of(request: Request) -> str:
    """Return the name that the operator gives, in UTF-8 or percent-encoded as browsers must, else his address.

    Raises:
        Refusal: It can't be a name.
    """
    given = [value for name, value in request.scope["headers"] if name.lower() == OPERATOR.encode()]
    if not given:
        return _address(request)
    try:
        name = unquote(b", ".join(given).decode(), errors="strict").strip()
    except ValueError:
        name = ""
    if not name.isprintable() or not 1 <= len(name) <= _NAME_CHARACTERS:
        message = f"X-Operator: must be 1 to {_NAME_CHARACTERS} printable characters in UTF-8, or percent-encoded"
        raise Refusal(HTTPStatus.BAD_REQUEST, "bad-request", message)
    return name


def _address(request: Request) -> str:
    return request.client.host if request.client else "unknown"


def _with_json(request: Request) -> Request:
    """Take the body as JSON, whatever type `curl -d` gives it."""
    others = [header for header in request.scope["headers"] if header[0].lower() != b"content-type"]
    return Request({**request.scope, "headers": [*others, (b"content-type", b"application/json")]}, request.receive)
