"""The batches: pages of them, one with its stations, and what an operator can do to an open one.

Each action is an event of the batch's log, whichever worker is asked for it.
"""

# FastAPI reads annotations while the routes are made, and one is a class that is made there: no `from __future__`.

import asyncio
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, Final, TypeVar
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from app.web.cluster import INTERNAL, Cluster, NoAnswer, Share, share_of
from app.web.errors import SHOWN_CHARACTERS, Refusal, api_router, described
from app.web.filters import (
    EVERYTHING,
    CompletedByQuery,
    Filter,
    SearchQuery,
    SinceQuery,
    StationQuery,
    UntilQuery,
    filter_of,
    moment_text,
)
from app.web.models import Answer, BatchDetail, BatchList, BatchRow, detail_of, row_of
from app.web.operators import FORBIDDEN, action_route, operator_of
from app.web.paging import (
    LIMIT,
    BatchId,
    Cursor,
    CursorQuery,
    LimitQuery,
    LocalQuery,
    Shown,
    ShownQuery,
    list_batches,
    merge_pages,
    read_cursor,
)
from app.web.state import NotConfirmed, WorkerState
from app.web.turns import Pace
from tables.model.enums import Action, Status
from tables.model.events import Command

T = TypeVar("T")

_SEARCH: Final = "/search"
_PAGE: Final = TypeAdapter(Share[BatchList])
_DETAIL: Final = TypeAdapter(Share[BatchDetail | None])
_ROW: Final = TypeAdapter(Share[BatchRow | None])

UNKNOWN_BATCH: Final = described(
    {
        404: "It is not known",
        503: "Its partition is being taken over, or this worker is not in the group",
        504: "The worker that has it does not answer",
    }
)

CONFIRMED_WITHIN: Final = 3.0  # seconds
_ACTION_ANSWERS: Final = UNKNOWN_BATCH | described(
    {
        403: FORBIDDEN,
        409: "The batch is closed",
        503: "As for a batch that is asked for; or Kafka has not confirmed the action",
    }
)


class Batches:
    """The batches of the cluster, as one worker finds them."""

    def __init__(self, state: WorkerState, cluster: Cluster, pace: Pace) -> None:
        self._state = state
        self._cluster = cluster
        self._pace = pace

    def router(self) -> APIRouter:
        """Serve `/batches`, and the workers' shares of it."""
        router = api_router("batches")
        router.get("/batches")(self.listing)
        router.get("/batches/{batch_id}", responses=UNKNOWN_BATCH)(self.batch)
        router.get(INTERNAL + "/batches", include_in_schema=False)(self.own_listing)
        router.get(INTERNAL + _SEARCH, include_in_schema=False)(self.own_search)
        router.get(INTERNAL + "/batches/{batch_id}", include_in_schema=False)(self.own_batch)
        router.get(INTERNAL + "/rows/{batch_id}", include_in_schema=False)(self.own_row)
        return router

    async def listing(
        self,
        *,
        status: ShownQuery = None,
        q: SearchQuery = None,
        station: StationQuery = None,
        completed_by: CompletedByQuery = None,
        since: SinceQuery = None,
        until: UntilQuery = None,
        limit: LimitQuery = None,
        cursor: CursorQuery = None,
        local: LocalQuery = None,
    ) -> BatchList:
        """The batches in flight and those that are remembered, newest opened first.

        A cursor names the last row of its page, so no batch is shown twice or left out when others come and go. The
        range from `since` to `until` is of the time at which a batch closed, or opened if it is open. A page of a
        search may have fewer rows than asked for, or none, although there is a `next`: it goes on from there.
        """
        wanted = filter_of(self._state.settings.timezone, q=q, completed_by=completed_by, since=since, until=until)
        after, most = read_cursor(cursor), limit or LIMIT
        query = {"status": status or "", "limit": str(most), "cursor": cursor or ""}
        path = "/batches"
        if wanted != EVERYTHING or station is not None:
            # An older worker knows no conditions: asked like this, it does not answer with batches that are not wanted.
            path = _SEARCH
            query |= {"q": q or "", "station": station or "", "completed_by": completed_by or ""}
            query |= {"since": moment_text(wanted.since), "until": moment_text(wanted.until)}
        own = self._own_page(status, after, most, wanted, station)
        gathered = await self._cluster.gather(f"{path}?{urlencode(query)}", own, _PAGE.validate_json, local=bool(local))
        return merge_pages(gathered, limit=most)

    async def own_search(
        self,
        *,
        status: ShownQuery = None,
        q: SearchQuery = None,
        station: StationQuery = None,
        completed_by: CompletedByQuery = None,
        since: SinceQuery = None,
        until: UntilQuery = None,
        limit: LimitQuery = None,
        cursor: CursorQuery = None,
    ) -> Share[BatchList]:
        """Return a page of this worker's batches that meet conditions."""
        wanted = filter_of(self._state.settings.timezone, q=q, completed_by=completed_by, since=since, until=until)
        return share_of(self._state, await self._own_page(status, read_cursor(cursor), limit or LIMIT, wanted, station))

    async def own_listing(
        self, status: ShownQuery = None, limit: LimitQuery = None, cursor: CursorQuery = None
    ) -> Share[BatchList]:
        """Return a page of this worker's batches."""
        return share_of(self._state, await self._own_page(status, read_cursor(cursor), limit or LIMIT))

    async def _own_page(
        self,
        shown: Shown | None,
        after: Cursor | None,
        limit: int,
        wanted: Filter = EVERYTHING,
        station: str | None = None,
    ) -> BatchList:
        return await list_batches(
            self._state.working_sets(),
            shown=shown,
            after=after,
            limit=limit,
            worker=self._state.url,
            wanted=wanted if wanted != EVERYTHING else None,
            station=station,
            pace=self._pace,
        )

    async def batch(self, batch_id: BatchId, local: LocalQuery = None) -> BatchDetail:
        """One batch with its stations, from the worker that has it."""
        return await self.find(
            batch_id, lambda: self._own(batch_id, detail_of), "/batches/", _DETAIL, local=bool(local)
        )

    async def row(self, batch_id: str) -> BatchRow:
        """Return a batch of any worker without its stations.

        Raises:
            Refusal: Nobody knows it, or it can't be found out.
        """
        return await self.find(batch_id, lambda: self._own(batch_id, row_of), "/rows/", _ROW)

    async def own_batch(self, batch_id: BatchId) -> Share[BatchDetail | None]:
        """Return a batch of this worker, None when it has none of this id."""
        return share_of(self._state, self._own(batch_id, detail_of))

    async def own_row(self, batch_id: BatchId) -> Share[BatchRow | None]:
        """Return a batch of this worker without its stations, None when it has none of this id."""
        return share_of(self._state, self._own(batch_id, row_of))

    def _own(self, batch_id: str, view: Callable[..., T]) -> T | None:
        for partition, working_set in self._state.working_sets().items():
            if (batch := working_set.look_up(batch_id)) is not None:
                return view(batch, partition=partition, worker=self._state.url)
        return None

    async def find(
        self,
        batch_id: str,
        own: Callable[[], T | None],
        path: str,
        read: TypeAdapter[Share[T | None]],
        *,
        local: bool = False,
    ) -> T:
        """Return what the worker that has a batch tells of it.

        Args:
            batch_id: the batch's.
            own: tells it if this worker has it; None where it does not know the batch.
            path: the internal path, up to the id, at which another worker tells it.
            read: reads that.
            local: ask nobody else.

        Raises:
            Refusal: Nobody knows the batch, or it can't be found out.
        """
        owner = self._state.url if local else self._owner_of(batch_id)
        found = own() if owner == self._state.url else await self._ask(owner, path, batch_id, read)
        if found is None:
            message = f"batch {batch_id[:SHOWN_CHARACTERS]} is not known: never opened, or forgotten"
            raise Refusal(HTTPStatus.NOT_FOUND, "unknown-batch", message)
        return found

    def _owner_of(self, batch_id: str) -> str:
        partition = self._state.partition_of(batch_id)
        owner = next((url for url, owned in self._state.members().items() if partition in owned), None)
        if owner is None:
            message = f"nobody is known to have partition {partition}: this worker is not in the group, or was not yet"
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "no-owner", message)
        if owner == self._state.url and (not self._state.ready() or partition not in self._state.working_sets()):
            raise _being_recovered(partition, owner)
        return owner

    async def _ask(self, owner: str, path: str, batch_id: str, read: TypeAdapter[Share[T | None]]) -> T | None:
        partition = self._state.partition_of(batch_id)
        try:
            share = await self._cluster.ask(owner, path + quote(batch_id, safe=""), read.validate_json)
        except NoAnswer as error:
            message = f"{error}; it has partition {partition}, where the batch is if there is one"
            raise Refusal(HTTPStatus.GATEWAY_TIMEOUT, "owner-away", message) from error
        if share.answer is None and partition not in share.partitions:
            raise _being_recovered(partition, owner)
        return share.answer


def _being_recovered(partition: int, owner: str) -> Refusal:
    message = f"partition {partition} is being taken over by the worker at {owner}; try again in a moment"
    return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "being-recovered", message)


# -- actions -----------------------------------------------------------------------------------------------------------


class Accepted(Answer):
    """An action that stands in the batch's log, and will be carried out in its turn."""

    batch_id: str
    action: Action
    by: str = Field(description="The header X-Operator, else the address that asked")
    at: float = Field(description="Unix seconds")
    deadline: float = Field(description="Of the batch; after `extend`, where it will be moved to")


def actions_router(state: WorkerState, batches: Batches, *, enabled: bool) -> APIRouter:
    """Serve the three actions; `enabled`: whether the workers have a token for operators."""
    router = api_router("actions", route_class=action_route(state.settings, enabled=enabled))

    class Extension(BaseModel):
        """How far the deadline is moved."""

        model_config = ConfigDict(extra="forbid")

        seconds: Annotated[float, Field(gt=0, le=state.settings.max_batch_age, allow_inf_nan=False, strict=True)]

    async def act(request: Request, batch_id: str, action: Action, seconds: float = 0.0) -> Accepted:
        by = operator_of(request)
        row = await batches.row(batch_id)
        if row.status is not Status.OPEN:
            message = f"batch {batch_id[:SHOWN_CHARACTERS]} is closed: {row.status}, by {row.completed_by}"
            raise Refusal(HTTPStatus.CONFLICT, "batch-closed", message)
        command = Command(batch_id, action, time.time(), by, seconds)
        try:
            async with asyncio.timeout(CONFIRMED_WITHIN):
                await state.send_command(command)
        except (TimeoutError, NotConfirmed) as error:
            message = "Kafka has not confirmed the action: it may be carried out all the same; look at the batch"
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "not-confirmed", message) from error
        deadline = max(row.deadline, min(row.deadline + seconds, row.opened_at + state.settings.max_batch_age))
        return Accepted(batch_id=batch_id, action=action, by=by, at=command.at, deadline=deadline)

    @router.post("/batches/{batch_id}/complete", status_code=HTTPStatus.ACCEPTED, responses=_ACTION_ANSWERS)
    async def complete(request: Request, batch_id: BatchId) -> Accepted:
        """Publish an open batch with the results that have arrived."""
        return await act(request, batch_id, Action.COMPLETE)

    @router.post("/batches/{batch_id}/discard", status_code=HTTPStatus.ACCEPTED, responses=_ACTION_ANSWERS)
    async def discard(request: Request, batch_id: BatchId) -> Accepted:
        """Close an open batch without publishing it: what has arrived goes to the dead-letter topic."""
        return await act(request, batch_id, Action.DISCARD)

    @router.post("/batches/{batch_id}/extend", status_code=HTTPStatus.ACCEPTED, responses=_ACTION_ANSWERS)
    async def extend(request: Request, batch_id: BatchId, extension: Extension) -> Accepted:
        """Move the deadline of an open batch, at most to `AGG_MAX_BATCH_AGE` after its opening."""
        return await act(request, batch_id, Action.EXTEND, extension.seconds)

    return router
