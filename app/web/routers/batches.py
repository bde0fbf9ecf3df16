"""The batches: a page of them, and one with its stations."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final, TypeVar
from urllib.parse import quote, urlencode

from fastapi import APIRouter
from pydantic import TypeAdapter

from app.web.cluster import INTERNAL, Cluster, NoAnswer
from app.web.errors import SHOWN_CHARACTERS, Refusal, described
from app.web.listing import Cursor, Shown, find_batch, list_batches, merge_pages
from app.web.models import BatchDetail, BatchList, BatchRow, detail_of, row_of
from app.web.parts import Part, part_of
from app.web.queries import LIMIT, BatchId, CursorQuery, LimitQuery, LocalQuery, ShownQuery, after
from app.web.state import WorkerState

__all__ = ["UNKNOWN", "Batches", "batches_router"]

T = TypeVar("T")

_PAGE: Final = TypeAdapter(Part[BatchList])
_DETAIL: Final = TypeAdapter(Part[BatchDetail | None])
_ROW: Final = TypeAdapter(Part[BatchRow | None])

UNKNOWN: Final = described(
    {
        404: "It is not known",
        503: "Its partition is being taken over, or this worker is not in the group",
        504: "The worker that has it does not answer",
    }
)


class Batches:
    """The batches of the cluster, as one worker finds them."""

    def __init__(self, state: WorkerState, cluster: Cluster) -> None:
        self._state = state
        self._cluster = cluster

    async def page(self, shown: Shown | None, limit: int, cursor: str | None, *, local: bool = False) -> BatchList:
        """A page of all workers' batches, or of this one's."""
        own = self.own_page(shown, after(cursor), limit)
        query = {"status": shown or "", "limit": str(limit), "cursor": cursor or ""}
        path = f"/batches?{urlencode(query)}"
        gathered = await self._cluster.gather(path, own, _PAGE.validate_json, local=local)
        return merge_pages(gathered, limit=limit)

    async def own_page(self, shown: Shown | None, after: Cursor | None, limit: int) -> BatchList:
        """A page of this worker's batches."""
        sets = self._state.working_sets()
        return await list_batches(sets, shown=shown, after=after, limit=limit, worker=self._state.url)

    async def detail(self, batch_id: str, *, local: bool = False) -> BatchDetail:
        """A batch of any worker, or of this one.

        Raises:
            Refusal: Nobody knows it, or it can't be found out.
        """
        if local:
            detail = self.own_detail(batch_id)
        else:
            owner = self._owner_of(batch_id)
            if owner == self._state.url:
                detail = self.own_detail(batch_id)
            else:
                part = await self._ask(owner, f"/batches/{quote(batch_id, safe='')}", batch_id, _DETAIL)
                detail = part.answer
        if detail is None:
            raise _unknown(batch_id)
        return detail

    async def row(self, batch_id: str) -> BatchRow:
        """A batch of any worker without its stations.

        Raises:
            Refusal: Nobody knows it, or it can't be found out.
        """
        owner = self._owner_of(batch_id)
        if owner == self._state.url:
            row = self.own_row(batch_id)
        else:
            row = (await self._ask(owner, f"/rows/{quote(batch_id, safe='')}", batch_id, _ROW)).answer
        if row is None:
            raise _unknown(batch_id)
        return row

    def own_detail(self, batch_id: str) -> BatchDetail | None:
        """A batch of this worker, None when it has none of this id."""
        found = find_batch(self._state.working_sets(), batch_id)
        return detail_of(found[1], partition=found[0], worker=self._state.url) if found else None

    def own_row(self, batch_id: str) -> BatchRow | None:
        """A batch of this worker without its stations, None when it has none of this id."""
        found = find_batch(self._state.working_sets(), batch_id)
        return row_of(found[1], partition=found[0], worker=self._state.url) if found else None

    def _owner_of(self, batch_id: str) -> str:
        partition = self._state.partition_of(batch_id)
        owner = self._cluster.owner_of(partition)
        if owner is None:
            message = f"nobody is known to have partition {partition}: this worker is not in the group, or was not yet"
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "no-owner", message)
        if owner == self._state.url and (not self._state.ready() or partition not in self._state.working_sets()):
            raise _being_recovered(partition, owner)
        return owner

    async def _ask(self, owner: str, path: str, batch_id: str, adapter: TypeAdapter[Part[T]]) -> Part[T]:
        try:
            part = await self._cluster.ask(owner, path, adapter.validate_json)
        except NoAnswer as error:
            partition = self._state.partition_of(batch_id)
            message = f"{error}; it has partition {partition}, where the batch is if there is one"
            raise Refusal(HTTPStatus.GATEWAY_TIMEOUT, "owner-away", message) from error
        if part.answer is None and self._state.partition_of(batch_id) not in part.partitions:
            raise _being_recovered(self._state.partition_of(batch_id), owner)
        return part


def _unknown(batch_id: str) -> Refusal:
    message = f"batch {batch_id[:SHOWN_CHARACTERS]} is not known: never opened, or forgotten"
    return Refusal(HTTPStatus.NOT_FOUND, "unknown-batch", message)


def _being_recovered(partition: int, owner: str) -> Refusal:
    message = f"partition {partition} is being taken over by the worker at {owner}; try again in a moment"
    return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "being-recovered", message)


def batches_router(state: WorkerState, batches: Batches) -> APIRouter:
    """What is asked from outside, and what workers ask each other."""
    router = APIRouter(tags=["batches"])

    @router.get("/batches")
    async def listing(
        status: ShownQuery = None, limit: LimitQuery = None, cursor: CursorQuery = None, local: LocalQuery = None
    ) -> BatchList:
        """The batches in flight and those that are remembered, newest opened first.

        A cursor names the last row of its page, so no batch is shown twice or left out when others come and go.
        """
        return await batches.page(status, limit or LIMIT, cursor, local=bool(local))

    @router.get("/batches/{batch_id}", responses=UNKNOWN)
    async def batch(batch_id: BatchId, local: LocalQuery = None) -> BatchDetail:
        """One batch with its stations, from the worker that has it."""
        return await batches.detail(batch_id, local=bool(local))

    @router.get(INTERNAL + "/batches", include_in_schema=False)
    async def own_listing(
        status: ShownQuery = None, limit: LimitQuery = None, cursor: CursorQuery = None
    ) -> Part[BatchList]:
        return part_of(state, await batches.own_page(status, after(cursor), limit or LIMIT))

    @router.get(INTERNAL + "/batches/{batch_id}", include_in_schema=False)
    async def own_batch(batch_id: BatchId) -> Part[BatchDetail | None]:
        return part_of(state, batches.own_detail(batch_id))

    @router.get(INTERNAL + "/rows/{batch_id}", include_in_schema=False)
    async def own_row(batch_id: BatchId) -> Part[BatchRow | None]:
        return part_of(state, batches.own_row(batch_id))

    return router
