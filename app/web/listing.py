"""Pages of batches, newest opened first, ties by batch id.

A cursor names the last row of its page, not a count of rows, so nothing is shown twice or left out when batches come
and go between two pages. The event loop is the pipeline's: what is long is gone through in slices, with a turn for
others after each. A batch lives in one partition, so it is enough that each partition is seen at one moment.
"""

from __future__ import annotations

import asyncio
import heapq
import math
from collections.abc import Mapping
from enum import StrEnum
from itertools import chain
from operator import itemgetter
from typing import Final, NamedTuple

from pydantic import ConfigDict, FiniteFloat, TypeAdapter

from app.web import paging as cursors
from app.web.models import BatchList, BatchRow, row_of
from app.web.parts import Gathered
from tables.model.batch import Batch
from tables.model.enums import Status
from tables.working_set import ClosedBatch, WorkingSet

__all__ = ["Cursor", "Shown", "decode_cursor", "encode_cursor", "find_batch", "list_batches", "merge_pages"]

SLICE: Final = 5000  # batches, or stations of open batches, that are looked at in one turn


class Shown(StrEnum):
    """Which batches are listed; one that has been decided counts as closed, published or not."""

    OPEN = "open"
    CLOSED = "closed"


class Cursor(NamedTuple):
    """The last row of a page."""

    opened_at: float
    batch_id: str

    @property
    def place(self) -> _Place:
        """Where it stands in the order."""
        return (-self.opened_at, self.batch_id)


_Place = tuple[float, str]
_Found = tuple[_Place, int, Batch | ClosedBatch]
_PLACES: Final = TypeAdapter(tuple[FiniteFloat, str], config=ConfigDict(strict=True))


def encode_cursor(cursor: Cursor) -> str:
    """A cursor as text that is safe in a URL."""
    return cursors.encode(cursor)


def decode_cursor(text: str) -> Cursor:
    """Read back `encode_cursor`.

    Raises:
        ValueError: It is not one of ours.
    """
    return Cursor(*cursors.decode(text, _PLACES))


def find_batch(sets: Mapping[int, WorkingSet], batch_id: str) -> tuple[int, Batch] | None:
    """A batch and its partition, or None when no partition knows it."""
    for partition, working_set in sets.items():
        batch = working_set.look_up(batch_id)
        if batch is not None:
            return partition, batch
    return None


async def list_batches(
    sets: Mapping[int, WorkingSet], *, shown: Shown | None, after: Cursor | None, limit: int, worker: str
) -> BatchList:
    """One page of the batches of these partitions.

    Args:
        sets: the batches by partition.
        shown: which ones; None for all.
        after: the last row of the page before; None for the first page.
        limit: rows at most; a page may have fewer, for a batch that changed sides while the page was made.
        worker: URL of the worker that owns the partitions.
    """
    found = await _first(limit + 1, sets, shown, after)
    page = found[:limit]
    last = page[-1][2] if len(found) > limit else None
    return BatchList(
        batches=[row for row in await _rows(page, worker) if _belongs(row, shown)],
        next=encode_cursor(Cursor(last.opened_at, last.batch_id)) if last else None,
        incomplete=[],
    )


def merge_pages(gathered: Gathered[BatchList], *, limit: int) -> BatchList:
    """One page of the pages of several workers.

    While partitions move, two workers may show one batch: then the row counts that has come further.
    """
    rows: dict[str, BatchRow] = {}
    for page in gathered.parts:
        for row in page.batches:
            known = rows.get(row.batch_id)
            if known is None or _progress(row) > _progress(known):
                rows[row.batch_id] = row
    batches = sorted(rows.values(), key=lambda row: Cursor(row.opened_at, row.batch_id).place)
    cursors = [page.next for page in gathered.parts if page.next is not None]
    # Behind the last row of a page that is not its worker's last one, other rows may be missing.
    ends = [decode_cursor(cursor).place for cursor in cursors]
    sure = [row for row in batches if not ends or Cursor(row.opened_at, row.batch_id).place <= min(ends)][:limit]
    more = bool(ends) or len(sure) < len(batches)
    last = Cursor(sure[-1].opened_at, sure[-1].batch_id) if sure else None
    following = encode_cursor(last) if last else min(cursors, key=lambda one: decode_cursor(one).place, default=None)
    return BatchList(batches=sure, next=following if more else None, incomplete=gathered.incomplete)


def _progress(row: BatchRow) -> tuple[bool, int, int]:
    return row.status is not Status.OPEN, row.revision, row.arrived_count


async def _first(count: int, sets: Mapping[int, WorkingSet], shown: Shown | None, after: Cursor | None) -> list[_Found]:
    """The first `count` batches behind the cursor, in order."""
    best: list[_Found] = []
    newest, behind = (after.opened_at, after.place) if after else (math.inf, (-math.inf, ""))
    for partition, working_set in list(sets.items()):  # partitions may be taken away meanwhile
        batches = _batches_of(working_set, shown)
        for start in range(0, len(batches), SLICE):
            oldest = -best[-1][0][0] if len(best) == count else -math.inf
            found = [
                ((-batch.opened_at, batch.batch_id), partition, batch)
                for batch in batches[start : start + SLICE]
                if oldest <= batch.opened_at <= newest
            ]
            fresh = (entry for entry in found if entry[0] > behind)
            best = heapq.nsmallest(count, chain(best, fresh), key=itemgetter(0))
            await asyncio.sleep(0)
    return best


def _batches_of(working_set: WorkingSet, shown: Shown | None) -> list[Batch | ClosedBatch]:
    batches: list[Batch | ClosedBatch] = []
    if shown is not Shown.OPEN:
        batches += working_set.closed.values()
        batches += working_set.closing.values()
    if shown is not Shown.CLOSED:
        batches += working_set.open.values()
    batches.reverse()  # about the order of the listing, so that most of what follows is passed over at a glance
    return batches


async def _rows(page: list[_Found], worker: str) -> list[BatchRow]:
    rows: list[BatchRow] = []
    stations = 0
    for _, partition, batch in page:
        rows.append(row_of(batch, partition=partition, worker=worker))
        if rows[-1].status is Status.OPEN:
            stations += rows[-1].expected_count
        if stations >= SLICE:
            stations = 0
            await asyncio.sleep(0)
    return rows


def _belongs(row: BatchRow, shown: Shown | None) -> bool:
    return shown is None or (shown is Shown.OPEN) == (row.status is Status.OPEN)
