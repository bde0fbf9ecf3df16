"""The workers: those of the group, how their clocks and settings differ, and this one's health and metrics."""

from __future__ import annotations

import asyncio
import os
import time
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Request, Response
from pydantic import Field, TypeAdapter

from app.observability.counters import open_batches
from app.observability.peers import exchange
from app.observability.prometheus import program_version
from app.web.access import Role
from app.web.cluster import INTERNAL, Cluster, Gathered, Share, share_of
from app.web.errors import Refusal, api_router, described
from app.web.guard import role_of
from app.web.models import Answer, Health
from app.web.paging import LocalQuery
from app.web.state import WorkerState

_WORKER: Final = "/worker"
HEARTBEAT_SECONDS: Final = 10.0


class _OwnFigures(Answer):
    """What a worker tells of itself; null is what one of an older version, or one that does not answer, has not told.

    Only such a worker's fields may be missing.
    """

    version: str | None = None
    started_at: float | None = Field(None, description="Unix seconds")
    open_batches: int | None = None
    running: int | None = Field(None, description="Callbacks that have started and not ended")
    waiting: int | None = Field(None, description="Stations that wait for their callback")
    loop_lag: float | None = Field(None, description="How long what was ready waited for its event loop last, seconds")
    resident: int | None = Field(None, description="Memory of its process, bytes; null where that can't be known")


class Worker(_OwnFigures):
    """One worker of the group."""

    url: str
    partitions: list[int] = Field(description="Of the batches, as of the latest assignment")
    ready: bool = Field(description="As its `/readyz` says; false when it has not answered")
    clock_offset: float | None = Field(
        description="Seconds by which its clock is ahead of the asked worker's, at half the round trip; negative: "
        "behind; null while it is not known"
    )
    differs: list[str] = Field(description="Keys of settings whose values there differ from the others'")


class Workers(Answer):
    """All workers of the group."""

    access: Role = Field(description="What the asker's token allows; `anyone`: the workers have no token")
    workers: list[Worker]
    clocks_apart: list[str] = Field(
        description="URLs of workers whose clocks differ from the asked worker's by more than a second, however slow "
        "their answers were"
    )
    incomplete: list[str] = Field(description="URLs of workers that did not answer")


class WorkerShare(_OwnFigures):
    """A worker's share of the answer."""

    url: str
    ready: bool
    now: float | None = Field(None, allow_inf_nan=False, description="Its clock's time, Unix seconds")


_SHARE: Final = TypeAdapter(Share[WorkerShare])


class ClusterView:
    """The workers, asked when somebody wants to know, and every ten seconds for their clocks' time."""

    def __init__(self, state: WorkerState, cluster: Cluster) -> None:
        self._state = state
        self._cluster = cluster

    async def keep_asking(self) -> None:
        """Ask for ever; run beside the web."""
        while True:
            await self._ask()
            await asyncio.sleep(HEARTBEAT_SECONDS)

    async def _ask(self, *, local: bool = False) -> Gathered[WorkerShare]:
        asked, since = time.time(), time.monotonic()

        def read(body: bytes) -> Share[WorkerShare]:
            answered = asked + (time.monotonic() - since)  # so that a clock that is set meanwhile makes no offset
            share = _SHARE.validate_json(body)
            if share.answer.now is not None:
                self._state.peers.exchanged(share.answer.url, exchange(asked, share.answer.now, answered))
            return share

        return await self._cluster.gather(_WORKER, self._own(), read, local=local)

    async def _own(self) -> WorkerShare:
        state = self._state
        running, waiting = state.callbacks()
        return WorkerShare(
            url=state.url,
            ready=state.ready(),
            version=program_version(),
            started_at=state.statistics.started_at,
            open_batches=open_batches(state.working_sets()),
            running=running,
            waiting=waiting,
            loop_lag=state.statistics.last_loop_lag,
            resident=_resident(),
            now=time.time(),
        )

    def router(self) -> APIRouter:
        """Serve `/cluster`, and the workers' shares of it."""
        router = api_router("cluster")

        @router.get("/cluster")
        async def workers(request: Request, local: LocalQuery = None) -> Workers:
            """The workers by URL: their partitions, how they stand, and where clocks and settings differ."""
            gathered = await self._ask(local=bool(local))
            return self._answer(gathered, role_of(request), local=bool(local))

        @router.get(INTERNAL + _WORKER, include_in_schema=False)
        async def worker() -> Share[WorkerShare]:
            return share_of(self._state, await self._own())

        return router

    def _answer(self, gathered: Gathered[WorkerShare], access: Role, *, local: bool) -> Workers:
        own, peers = self._state.url, self._state.peers
        shares = {share.url: share for share in gathered.shares}
        members = {own: frozenset[int]()} | dict(self._state.members())
        odd_keys = peers.odd_keys(own)
        rows = [
            Worker(
                **_figures(shares.get(url)),
                url=url,
                partitions=sorted(partitions),
                ready=shares[url].ready if url in shares else False,
                clock_offset=0.0 if url == own else peers.clock_offset(url),
                differs=list(odd_keys.get(url, ())),
            )
            for url, partitions in sorted(members.items())
            if url == own or not local
        ]
        return Workers(
            access=access, workers=rows, clocks_apart=list(peers.clocks_apart), incomplete=gathered.incomplete
        )


def _figures(share: WorkerShare | None) -> dict[str, Any]:
    return {name: getattr(share, name, None) for name in _OwnFigures.model_fields}


def _resident() -> int | None:
    """Return the bytes of memory that this process has, None where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None


def health_router(state: WorkerState) -> APIRouter:
    """Serve the probes, which need no token."""
    router = api_router("health")
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
    router = api_router("metrics")

    @router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def metrics(accept: Annotated[str | None, Header(include_in_schema=False)] = None) -> Response:
        """This worker's metrics, named `batch_aggregator_*`, in Prometheus's text format or as OpenMetrics."""
        body, content_type = state.exposition(accept)
        return Response(body, headers={"content-type": content_type})

    return router
