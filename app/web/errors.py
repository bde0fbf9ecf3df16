"""Errors as they are answered: always `{"error": {"code", "message"}}`, whoever refuses."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.routing import Match, Mount

from app.web.models import Error, ErrorAnswer

_METHODS: Final = ("GET", "POST")  # that any of our paths takes
SHOWN_CHARACTERS: Final = 200  # of text from a request, in an error's message

Responses = dict[int | str, dict[str, Any]]


def described(descriptions: Mapping[int | str, str]) -> Responses:
    """Return the errors of a path for its description, by status.

    By the name of their form alone, which the description has (app/web/description.py): FastAPI would make validators
    of an answer's `model`, ten for each path of each worker, for answers that it never validates.
    """
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{ErrorAnswer.__name__}"}}}
    return {status: {"description": text, "content": content} for status, text in descriptions.items()}


ANYWHERE: Final = described(
    {
        400: "Bad input, or a `Host` that is not this worker's",
        401: "No token, or a wrong one, where one is needed",
        413: "The body is too long",
        414: "The address is too long",
        429: "Asked too often; `Retry-After` says how many seconds to wait",
        431: "The headers are too long",
        500: "A bug; the worker's log has the details",
        "default": "Any other error",
    }
)


def api_router(tag: str | None = None, route_class: type[APIRoute] = APIRoute) -> APIRouter:
    """Return a router for paths of the API, all of which may answer with the errors that any may."""
    return APIRouter(tags=None if tag is None else [tag], route_class=route_class, responses=ANYWHERE)


class Refusal(Exception):  # noqa: N818 - not an error of ours: an answer
    """Ends a request with an error."""

    def __init__(self, status: HTTPStatus, code: str, message: str) -> None:
        self.status = status
        self.code = code
        super().__init__(message)


def error_response(
    status: HTTPStatus, message: str, *, code: str | None = None, headers: dict[str, str] | None = None
) -> JSONResponse:
    """Return an error in the form that all errors have; without `code` it is the status's name, such as `not-found`."""
    error = Error(code=code or status.phrase.lower().replace(" ", "-"), message=message)
    return JSONResponse(ErrorAnswer(error=error).model_dump(), status_code=status, headers=headers)


def answer_errors(web: FastAPI) -> None:
    """Have every error of an application answered in that form."""

    @web.exception_handler(Refusal)
    async def refused(_: Request, error: Refusal) -> Response:
        return error_response(error.status, str(error), code=error.code)

    @web.exception_handler(RequestValidationError)
    async def bad_input(_: Request, error: RequestValidationError) -> Response:
        return error_response(HTTPStatus.BAD_REQUEST, "; ".join(_problem(problem) for problem in error.errors()))

    @web.exception_handler(HTTPException)
    async def not_served(request: Request, error: HTTPException) -> Response:
        status = HTTPStatus(error.status_code)
        path = request.url.path[:SHOWN_CHARACTERS]
        headers = dict(error.headers or {})
        if status is HTTPStatus.METHOD_NOT_ALLOWED:
            allowed = headers["Allow"] = ", ".join(_allowed(request, headers.get("Allow", "")))
            message = f"{request.method[:SHOWN_CHARACTERS]} is not allowed on {path}; allowed: {allowed}"
        elif status is HTTPStatus.NOT_FOUND:
            message = f"there is nothing at {path}"
        elif error.detail != status.phrase:
            message = error.detail
        else:
            message = status.description or status.phrase
        code = "too-large" if status is HTTPStatus.REQUEST_ENTITY_TOO_LARGE else None
        return error_response(status, message, code=code, headers=headers)


def _allowed(request: Request, told: str) -> list[str]:
    """Return the methods of all routes that a path may mean; `told`: the `Allow` of the framework, for the first."""
    methods = set(told.replace(" ", "").split(",")) - {""}
    for method in _METHODS:
        scope = {**request.scope, "method": method}
        routes = (route for route in request.app.routes if not isinstance(route, Mount))
        if any(route.matches(scope)[0] is Match.FULL for route in routes):
            methods.add(method)
    return sorted(methods | {"HEAD"} if "GET" in methods else methods)


def _problem(problem: Mapping[str, Any]) -> str:
    if problem["type"] == "json_invalid":
        return f"body: not JSON: {problem['ctx']['error']} at character {problem['loc'][-1]}"
    said = f"{'.'.join(map(str, problem['loc'][1:])) or problem['loc'][0]}: {problem['msg']}"
    return said if problem["type"] == "missing" else f"{said}, got {str(problem['input'])[:SHOWN_CHARACTERS]!r}"
