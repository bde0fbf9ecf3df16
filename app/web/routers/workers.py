"""The workers of the group."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter
from pydantic import Field, TypeAdapter

from app.web.cluster import INTERNAL, Cluster
from app.web.models import Answer
from app.web.parts import Part, part_of
from app.web.queries import LocalQuery
from app.web.state import WorkerState

__all__ = ["members_router"]

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
    """What a worker says of itself."""

    url: str
    ready: bool


_READINESS: Final = TypeAdapter(Part[Readiness])


def members_router(state: WorkerState, cluster: Cluster) -> APIRouter:
    """`/cluster`, and what workers ask each other for it."""
    router = APIRouter(tags=["cluster"])

    async def own() -> Readiness:
        return Readiness(url=state.url, ready=state.ready())

    @router.get("/cluster")
    async def workers(local: LocalQuery = None) -> Workers:
        """The workers, their partitions, and whether they are ready, by URL."""
        gathered = await cluster.gather(_WORKER, own(), _READINESS.validate_json, local=bool(local))
        ready = {part.url: part.ready for part in gathered.parts}
        members = {state.url: frozenset[int]()} | dict(state.members())
        shown = [
            Worker(url=url, partitions=sorted(partitions), ready=ready.get(url, False))
            for url, partitions in sorted(members.items())
            if url == state.url or not local
        ]
        return Workers(workers=shown, incomplete=gathered.incomplete)

    @router.get(INTERNAL + _WORKER, include_in_schema=False)
    async def worker() -> Part[Readiness]:
        return part_of(state, await own())

    return router
