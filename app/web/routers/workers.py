"""The workers: those of the group, and this one's health and metrics."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Final

from fastapi import APIRouter, Header, Response
from pydantic import Field, TypeAdapter

from app.web.cluster import INTERNAL, Cluster, Share, share_of
from app.web.errors import Refusal, described
from app.web.models import Answer, Health
from app.web.paging import LocalQuery
from app.web.state import WorkerState

_WORKER: Final = "/worker"


class Worker(Answer):
    """One worker of the group."""

    url: str
    partitions: list[int] = Field(description="Of the batches, as of the latest assignment")
    ready: bool = Field(description="As its `/readyz` says; false when it has not answered")


class Workers(Answer):
    """All workers of the group."""

    workers: list[Worker]
    incomplete: list[str] = Field(description="URLs of workers that did not answer")


class Readiness(Answer):
    """A worker's share of the answer."""

    url: str
    ready: bool


_READINESS: Final = TypeAdapter(Share[Readiness])


def cluster_router(state: WorkerState, cluster: Cluster) -> APIRouter:
    """Serve `/cluster`, and the workers' shares of it."""
    router = APIRouter(tags=["cluster"])

    async def own() -> Readiness:
        return Readiness(url=state.url, ready=state.ready())

    @router.get("/cluster")
    async def workers(local: LocalQuery = None) -> Workers:
        """The workers, their partitions, and whether they are ready, by URL."""
        gathered = await cluster.gather(_WORKER, own(), _READINESS.validate_json, local=bool(local))
        ready = {share.url: share.ready for share in gathered.shares}
        members = {state.url: frozenset[int]()} | dict(state.members())
        shown = [
            Worker(url=url, partitions=sorted(partitions), ready=ready.get(url, False))
            for url, partitions in sorted(members.items())
            if url == state.url or not local
        ]
        return Workers(workers=shown, incomplete=gathered.incomplete)

    @router.get(INTERNAL + _WORKER, include_in_schema=False)
    async def worker() -> Share[Readiness]:
        return share_of(state, await own())

    return router


def health_router(state: WorkerState) -> APIRouter:
    """Serve the probes, which need no token."""
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


def metrics_router(state: WorkerState) -> APIRouter:
    """Serve `/metrics`, this worker's."""
    router = APIRouter(tags=["metrics"])

    @router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def metrics(accept: Annotated[str | None, Header(include_in_schema=False)] = None) -> Response:
        """This worker's metrics, named `batch_aggregator_*`, in Prometheus's text format or as OpenMetrics."""
        body, content_type = state.exposition(accept)
        return Response(body, headers={"content-type": content_type})

    return router
