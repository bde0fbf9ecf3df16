"""The pages of a worker: paths, their input, and their errors."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter, FastAPI

from app.web.access import Access
from app.web.actions import actions_router
from app.web.batches import Batches, batches_router
from app.web.cluster import Cluster
from app.web.errors import Refusal, answer_errors
from app.web.figures import figures_router
from app.web.guard import Guard
from app.web.heatmap import Heatmap, heatmap_router
from app.web.members import members_router
from app.web.metrics import metrics_router
from app.web.page import page_router
from app.web.state import WorkerState
from app.web.stations import Stations, stations_router
from app.web.views import ErrorAnswer, Health

__all__ = ["WorkerState", "create_web"]

_FREE: Final = Access()


def create_web(state: WorkerState, access: Access = _FREE) -> FastAPI:
    """The ASGI application of one worker, for whom `access` allows; `web.state.cluster` has to be closed at the end."""
    web = FastAPI(
        title="Station batch aggregator",
        version="1",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        responses={"default": {"model": ErrorAnswer, "description": "Error"}},
    )
    cluster = Cluster(state, access.token)
    batches = Batches(state, cluster)
    web.include_router(page_router())
    web.include_router(_health(state))
    web.include_router(batches_router(state, batches))
    web.include_router(actions_router(state, batches, enabled=access.token is not None))
    web.include_router(stations_router(state, Stations(state, cluster)))
    web.include_router(figures_router(state, cluster))
    web.include_router(heatmap_router(state, Heatmap(state, cluster)))
    web.include_router(members_router(state, cluster))
    web.include_router(metrics_router(state))
    answer_errors(web)
    web.add_middleware(Guard, access=access)
    web.state.cluster = cluster
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
