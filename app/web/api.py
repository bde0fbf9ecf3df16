"""The pages of a worker: paths, their input, and their errors."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any, Final, Protocol

from fastapi import APIRouter, FastAPI, Path, Query
from pydantic import BeforeValidator, Field

from app.web.access import Access
from app.web.errors import SHOWN_CHARACTERS, Refusal, answer_errors
from app.web.guard import Guard
from app.web.listing import Cursor, Shown, decode_cursor, find_batch, list_batches
from app.web.metrics import metrics_router
from app.web.views import BatchDetail, BatchList, ErrorAnswer, Health, detail_of
from tables.working_set import WorkingSet

__all__ = ["WorkerState", "create_web"]

_LIMIT: Final = 100
_FREE: Final = Access()


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


def create_web(state: WorkerState, access: Access = _FREE) -> FastAPI:
    """The ASGI application of one worker, for whom `access` allows."""
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
    answer_errors(web)
    web.add_middleware(Guard, access=access)
    return web


# -- pages -------------------------------------------------------------------------------------------------------------


def _health(state: WorkerState) -> APIRouter:
    router = APIRouter(tags=["health"])
    unwell: dict[int | str, dict[str, Any]] = {503: {"model": ErrorAnswer, "description": "It is not"}}

    @router.get("/healthz", responses=unwell)
    async def healthz() -> Health:
        """Whether this worker is alive."""
        if not state.live():
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "not-live", "this worker has stopped working")
        return Health()

    @router.get("/readyz", responses=unwell)
    async def readyz() -> Health:
        """Whether this worker is in the consumer group and has recovered its assignment, which may be empty."""
        if not state.ready():
            message = "this worker is not in the consumer group yet, or is still recovering its tables"
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "not-ready", message)
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
        raise Refusal(HTTPStatus.BAD_REQUEST, "bad-request", f"cursor: {error}") from None


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
            message = f"batch {batch_id[:SHOWN_CHARACTERS]} is not known: never opened, forgotten, or another worker's"
            raise Refusal(HTTPStatus.NOT_FOUND, "unknown-batch", message)
        partition, known = found
        return detail_of(known, partition=partition, worker=state.url)

    return router
