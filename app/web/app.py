"""The pages of a worker: paths, their input, and their errors."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from fastapi import APIRouter, Depends, FastAPI
from fastapi.security import HTTPBearer

from app.web.access import Access
from app.web.cluster import Cluster
from app.web.errors import ANYWHERE, Refusal, answer_errors, described
from app.web.guard import Guard
from app.web.models import Health
from app.web.routers.actions import actions_router
from app.web.routers.batches import Batches, batches_router
from app.web.routers.dashboard import page_router
from app.web.routers.heatmap import Heatmap, heatmap_router
from app.web.routers.metrics import metrics_router
from app.web.routers.stations import Stations, stations_router
from app.web.routers.statistics import figures_router
from app.web.routers.workers import members_router
from app.web.state import WorkerState

__all__ = ["WorkerState", "create_web"]

_FREE: Final = Access()
# Describes what the guard has asked for before.
_BEARER: Final = Depends(HTTPBearer(auto_error=False, description="AGG_WEB_TOKEN, the same for all workers"))


def create_web(state: WorkerState, access: Access = _FREE) -> FastAPI:
    """The ASGI application of one worker, for whom `access` allows; `web.state.cluster` has to be closed at the end."""
    web = FastAPI(
        title="Station batch aggregator",
        version="1",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        responses=ANYWHERE,
    )
    cluster = Cluster(state, access.token)
    batches = Batches(state, cluster)
    web.include_router(page_router())
    web.include_router(_health(state))
    for guarded in (
        batches_router(state, batches),
        actions_router(state, batches, enabled=access.token is not None),
        stations_router(state, Stations(state, cluster)),
        figures_router(state, cluster),
        heatmap_router(state, Heatmap(state, cluster)),
        members_router(state, cluster),
        metrics_router(state),
    ):
        web.include_router(guarded, dependencies=[] if access.token is None else [_BEARER])
    answer_errors(web)
    web.add_middleware(Guard, access=access)
    web.state.cluster = cluster
    return web


# -- pages -------------------------------------------------------------------------------------------------------------


def _health(state: WorkerState) -> APIRouter:
    router = APIRouter(tags=["health"])
    unwell = described({503: "It is not"})

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
