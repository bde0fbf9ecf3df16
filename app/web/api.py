"""The pages of a worker: paths, their input, and their errors."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any, Final, Protocol

from fastapi import APIRouter, FastAPI, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BeforeValidator, Field
from starlette.exceptions import HTTPException

from app.web.guard import Guard, error_response
from app.web.listing import Cursor, Shown, decode_cursor, find_batch, list_batches
from app.web.metrics import metrics_router
from app.web.views import BatchDetail, BatchList, ErrorAnswer, Health, detail_of
from tables.working_set import WorkingSet

__all__ = ["WorkerState", "create_web"]

_SHOWN_CHARACTERS: Final = 200
_LIMIT: Final = 100


class WorkerState(Protocol):
    """What the web knows of its worker. Read on the worker's event loop, anew for each request."""

    @property
    def url(self) -> str:
        """Where this worker is reached, such as `http://127.0.0.1:6066`."""

    def live(self) -> bool:
        """Whether the worker is working."""

    def ready(self) -> bool:
        """Whether it is in the group, and its assignment, which may be empty, is recovered."""

    def exposition(self, accept: str | None) -> tuple[bytes, str]:
        """The metrics, in the format that an `Accept` header asks for, and their content type."""

    def working_sets(self) -> Mapping[int, WorkingSet]:
        """The batches of the partitions that are owned and recovered; empty before recovery."""


class _Refusal(Exception):  # noqa: N818 - not an error of ours: an answer
    """Ends a request with an error."""

    def __init__(self, status: HTTPStatus, code: str, message: str) -> None:
        self.status = status
        self.code = code
        super().__init__(message)


def create_web(state: WorkerState) -> FastAPI:
    """The ASGI application of one worker."""
    web = FastAPI(
        title="Station batch aggregator",
        version="1",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        responses={"default": {"model": ErrorAnswer, "description": "Error"}},
    )
    web.include_router(_health(state))
    web.include_router(_batches(state))
    web.include_router(metrics_router(state))
    web.add_exception_handler(_Refusal, _refused)
    web.add_exception_handler(RequestValidationError, _bad_input)
    web.add_exception_handler(HTTPException, _not_served)
    web.add_middleware(Guard)
    return web


# -- pages -------------------------------------------------------------------------------------------------------------


def _health(state: WorkerState) -> APIRouter:
    router = APIRouter(tags=["health"])
    unwell: dict[int | str, dict[str, Any]] = {503: {"model": ErrorAnswer, "description": "It is not"}}

    @router.get("/healthz", responses=unwell)
    async def healthz() -> Health:
        """Whether this worker is alive."""
        if not state.live():
            raise _Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "not-live", "this worker has stopped working")
        return Health()

    @router.get("/readyz", responses=unwell)
    async def readyz() -> Health:
        """Whether this worker is in the consumer group and has recovered its assignment, which may be empty."""
        if not state.ready():
            message = "this worker is not in the consumer group yet, or is still recovering its tables"
            raise _Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "not-ready", message)
        return Health()

    return router


def _given(value: object) -> object:
    """None for `key=` without a value: as if the key were not there."""
    return None if value == "" else value


ShownQuery = Annotated[Shown | None, BeforeValidator(_given), Query(description="Only these; both without it")]
LimitQuery = Annotated[
    Annotated[int, Field(ge=1, le=1000)] | None,
    BeforeValidator(_given),
    Query(description=f"Rows of a page, 1 to 1000; {_LIMIT} without it"),
]
CursorQuery = Annotated[str | None, BeforeValidator(_given), Query(description="`next` of the page before")]


def _after(cursor: str | None) -> Cursor | None:
    try:
        return None if cursor is None else decode_cursor(cursor)
    except ValueError as error:
        raise _Refusal(HTTPStatus.BAD_REQUEST, "bad-request", f"cursor: {error}") from None


def _batches(state: WorkerState) -> APIRouter:
    router = APIRouter(tags=["batches"])

    @router.get("/batches")
    async def batches(status: ShownQuery = None, limit: LimitQuery = None, cursor: CursorQuery = None) -> BatchList:
        """The batches in flight and those that are remembered, newest opened first."""
        return await list_batches(
            state.working_sets(), shown=status, after=_after(cursor), limit=limit or _LIMIT, worker=state.url
        )

    @router.get("/batches/{batch_id}", responses={404: {"model": ErrorAnswer, "description": "It is not known"}})
    async def batch(batch_id: Annotated[str, Path()]) -> BatchDetail:
        """One batch with its stations."""
        found = find_batch(state.working_sets(), batch_id)
        if found is None:
            message = f"batch {batch_id[:_SHOWN_CHARACTERS]} is not known: never opened, forgotten, or another worker's"
            raise _Refusal(HTTPStatus.NOT_FOUND, "unknown-batch", message)
        partition, known = found
        return detail_of(known, partition=partition, worker=state.url)

    return router


# -- errors ------------------------------------------------------------------------------------------------------------


async def _refused(_: Request, error: Exception) -> Response:
    if not isinstance(error, _Refusal):
        raise error
    return error_response(error.status, str(error), code=error.code)


async def _bad_input(_: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    problems = [
        f"{problem['loc'][-1]}: {problem['msg']}, got {str(problem['input'])[:_SHOWN_CHARACTERS]!r}"
        for problem in error.errors()
    ]
    return error_response(HTTPStatus.BAD_REQUEST, "; ".join(problems))


async def _not_served(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    status = HTTPStatus(error.status_code)
    path = request.url.path[:_SHOWN_CHARACTERS]
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = (error.headers or {}).get("Allow", "")
        message = f"{request.method} is not allowed on {path}; allowed: {allowed}"
    elif status is HTTPStatus.NOT_FOUND:
        message = f"there is nothing at {path}"
    else:
        message = status.description or status.phrase
    return error_response(status, message, headers=dict(error.headers or {}))
