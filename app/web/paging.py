"""Pages of batches: their order, their cursors, and the query parameters that all pages share.

Batches are listed newest opened first, and by batch id where two were opened at the same time. A cursor names the last
row of its page, not a count of rows. So no batch is shown twice or left out when batches come and go between two pages.

The event loop is the pipeline's. Long lists are gone through in slices, and other tasks get their turn after each one.
A batch lives in one partition, so it is enough that each partition is seen at one moment.
"""

from __future__ import annotations

import asyncio
import base64
import heapq
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from http import HTTPStatus
from itertools import chain
from operator import itemgetter
from time import perf_counter
from typing import Annotated, Any, Final, NamedTuple, Protocol, TypeVar

import orjson
from fastapi import Path, Query
from pydantic import ConfigDict, Field, FiniteFloat, GetCoreSchemaHandler, GetJsonSchemaHandler, TypeAdapter
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from app.web.cluster import Gathered
from app.web.errors import Refusal
from app.web.models import BatchList, BatchRow, row_of
from app.web.turns import HURRIED, RESTS, Pace, Turns
from tables.closed_batches import Block, ClosedBatch
from tables.looks import names
from tables.model.batch import Batch
from tables.model.enums import Status
from tables.working_set import WorkingSet

T = TypeVar("T")

LIMIT: Final = 100  # rows of a page, unless the request says otherwise
SEARCH_SECONDS: Final = 0.6  # seconds of a search for a station; what has not been looked at is on the next page


# -- query parameters --------------------------------------------------------------------------------------------------


class MayBeEmpty:
    """Makes `key=` without a value mean the same as no key, and says so in the description."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(
            lambda value: None if value == "" else value, handler(source)
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        described = handler(schema)
        choices = [choice for choice in described.pop("anyOf") if choice != {"type": "null"}]  # no address has a null
        return {"anyOf": [*choices, {"const": ""}], **described}


class Shape:
    """Requires a pattern of text; who gives another is told in words what is allowed, and a program by the pattern."""

    def __init__(self, pattern: str, rule: str) -> None:
        """`rule` stands behind `must be`."""
        self._pattern = pattern
        self._found = re.compile(pattern).fullmatch
        self._rule = rule

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {**handler(schema), "pattern": self._pattern}

    def _checked(self, text: str) -> str:
        if self._found(text) is None:
            error, message = "shape", "must be {rule}"
            raise PydanticCustomError(error, message, {"rule": self._rule})
        return text


class Shown(StrEnum):
    """Which batches are listed; one that has been decided counts as closed, published or not."""

    OPEN = "open"
    CLOSED = "closed"


BatchId = Annotated[str, Path(description="As the output names it")]
ShownQuery = Annotated[Shown | None, MayBeEmpty(), Query(description="Only these; both without it")]
LimitQuery = Annotated[
    Annotated[int, Field(ge=1, le=1000)] | None,
    MayBeEmpty(),
    Query(description=f"Rows of a page, 1 to 1000; {LIMIT} without it"),
]
CursorQuery = Annotated[str | None, MayBeEmpty(), Query(description="`next` of the page before")]
LocalQuery = Annotated[
    bool | None,
    MayBeEmpty(),
    Query(description="`true`: only what the worker that is asked has itself; without it the whole cluster"),
]


# -- cursors -----------------------------------------------------------------------------------------------------------


def encode_place(place: Iterable[object]) -> str:
    """Write the place of a row in its order as text that is safe in a URL; clients need not understand it."""
    return base64.urlsafe_b64encode(orjson.dumps(tuple(place))).decode().rstrip("=")


def decode_place(text: str, places: TypeAdapter[T]) -> T:
    """Read back `encode_place`.

    Raises:
        Refusal: The text is none of these places.
    """
    padding = "=" * (-len(text) % 4)
    try:
        return places.validate_json(base64.b64decode(text + padding, altchars=b"-_", validate=True))
    except ValueError:
        message = "cursor: must be the `next` of an earlier answer"
        raise Refusal(HTTPStatus.BAD_REQUEST, "bad-request", message) from None


class Cursor(NamedTuple):
    """The last row of a page of batches."""

    opened_at: float
    batch_id: str


class Wanted(Protocol):
    """Says which batches are listed."""

    def matches(self, batch: Batch | ClosedBatch) -> bool:
        """Say whether a batch is."""

    def may_match(self, block: Block) -> bool:
        """Say whether one of a block may be: false is sure, and saves to look at each of them."""


_Place = tuple[float, str]  # in the order of the listing
_Found = tuple[_Place, int, Batch | ClosedBatch]  # with its partition
_CURSORS: Final = TypeAdapter(tuple[FiniteFloat, str], config=ConfigDict(strict=True))


def read_cursor(text: str | None) -> Cursor | None:
    """Read the cursor of a request, or the `next` of another worker's page; None where there is none.

    Raises:
        Refusal: The text is no cursor of ours.
    """
    return None if text is None else Cursor(*decode_place(text, _CURSORS))


def _place_of(batch: Batch | ClosedBatch | BatchRow | Cursor) -> _Place:
    return -batch.opened_at, batch.batch_id


def _cursor_of(batch: Batch | ClosedBatch | BatchRow) -> str:
    return encode_place((batch.opened_at, batch.batch_id))


# -- pages of batches --------------------------------------------------------------------------------------------------


async def list_batches(
    sets: Mapping[int, WorkingSet],
    *,
    shown: Shown | None,
    after: Cursor | None,
    limit: int,
    worker: str,
    pace: Pace,
    wanted: Wanted | None = None,
    station: str | None = None,
) -> BatchList:
    """Return one page of the batches of these partitions.

    Args:
        sets: the batches by partition.
        shown: the batches to list; None for all.
        after: the last row of the page before; None for the first page.
        limit: the largest number of rows. A page has fewer when a batch closes while the page is made, and when the
            search for a station has taken long: `next` goes on from there.
        worker: URL of the worker that owns the partitions.
        pace: of all looks of the web.
        wanted: says which batches are listed; None for all.
        station: only batches that expected it.
    """
    look = _Look(sets, shown, after, wanted, Turns(pace, RESTS if station is None else HURRIED))
    if station is None:
        found, searched = await _first(limit + 1, look), None
    else:
        found, searched = await _first_with(station, limit + 1, look)
    page = found[:limit]
    return BatchList(
        batches=[row for row in await _rows(page, worker, look.turns) if _belongs(row, shown)],
        next=_cursor_of(page[-1][2]) if len(found) > limit else searched,
        incomplete=[],
    )


class _Look(NamedTuple):
    sets: Mapping[int, WorkingSet]
    shown: Shown | None
    after: Cursor | None
    wanted: Wanted | None
    turns: Turns

    def wants(self, batch: Batch | ClosedBatch) -> bool:
        return self.wanted is None or self.wanted.matches(batch)


async def _first_with(station: str, count: int, look: _Look) -> tuple[list[_Found], str | None]:
    """Return the first `count` batches behind the cursor that expected a station, in order.

    The second is the cursor of the last batch that was looked at where the search has been given up, else None.
    """
    give_up_at = perf_counter() + SEARCH_SECONDS
    lists: list[list[_Found]] = []
    behind = _place_of(look.after) if look.after else (-math.inf, "")
    for partition, working_set in list(look.sets.items()):
        ordered: list[_Found] = []
        for batch in _batches_of(working_set, look):
            if (place := _place_of(batch)) > behind and look.wants(batch):
                ordered.append((place, partition, batch))
            await look.turns.rest()
        ordered.sort(key=itemgetter(0))  # it nearly is
        lists.append(ordered)
    found: list[_Found] = []
    for one in heapq.merge(*lists, key=itemgetter(0)):
        _, partition, batch = one
        owned = look.sets.get(partition)  # it may have been taken away meanwhile
        if owned is not None and names(owned, batch.batch_id, station):
            found.append(one)
            if len(found) == count:
                break
        await look.turns.rest()
        if perf_counter() > give_up_at:
            return found, _cursor_of(batch)
    return found, None


async def _first(count: int, look: _Look) -> list[_Found]:
    """Return the first `count` batches behind the cursor, in order."""
    best: list[_Found] = []
    after = look.after
    newest, behind = (after.opened_at, _place_of(after)) if after else (math.inf, (-math.inf, ""))
    for partition, working_set in list(look.sets.items()):  # partitions may be taken away meanwhile
        for batches, latest in _pieces_of(working_set, look):
            oldest = best[-1][2].opened_at if len(best) == count else -math.inf
            if latest < oldest:  # nearly the order of the listing: once a page is full, the rest is passed over
                continue
            found = [
                (_place_of(batch), partition, batch)
                for batch in batches
                if oldest <= batch.opened_at <= newest and look.wants(batch)
            ]
            fresh = [entry for entry in found if entry[0] > behind]
            if fresh:
                best = heapq.nsmallest(count, chain(best, fresh), key=itemgetter(0))
            await look.turns.rest()
        await asyncio.sleep(0)
    return best


def _pieces_of(working_set: WorkingSet, look: _Look) -> list[tuple[Sequence[Batch | ClosedBatch], float]]:
    """Return the batches as of now in pieces, those closed last first, each with when the last of it was opened."""
    pieces: list[tuple[Sequence[Batch | ClosedBatch], float]] = []
    if look.shown is not Shown.CLOSED:
        pieces.append((list(working_set.open.values()), math.inf))
    if look.shown is not Shown.OPEN:
        pieces.append((list(working_set.closing.values()), math.inf))
        pieces += [
            (block.lines[:], block.opened_at)
            for block in reversed(working_set.closed_blocks)
            if look.wanted is None or look.wanted.may_match(block)
        ]
    return pieces


def _batches_of(working_set: WorkingSet, look: _Look) -> list[Batch | ClosedBatch]:
    """Return the batches as of now, nearly in the order of the listing."""
    pieces = [piece for piece, _ in _pieces_of(working_set, look)]
    return [batch for piece in pieces for batch in reversed(piece)]


async def _rows(page: list[_Found], worker: str, turns: Turns) -> list[BatchRow]:
    rows: list[BatchRow] = []
    for _, partition, batch in page:
        rows.append(row_of(batch, partition=partition, worker=worker))
        await turns.rest()
    return rows


def _belongs(row: BatchRow, shown: Shown | None) -> bool:
    return shown is None or (shown is Shown.OPEN) == (row.status is Status.OPEN)


def merge_pages(gathered: Gathered[BatchList], *, limit: int) -> BatchList:
    """Merge the pages of several workers into one.

    While partitions move, two workers may show the same batch. Then the row that is further counts: a closed batch
    before an open one, a later revision, more stations.
    """
    rows: dict[str, BatchRow] = {}
    for page in gathered.shares:
        for row in page.batches:
            known = rows.get(row.batch_id)
            if known is None or _progress(row) > _progress(known):
                rows[row.batch_id] = row
    batches = sorted(rows.values(), key=_place_of)
    # A worker may have more rows after the end of its page, so only rows up to the first of these ends are complete.
    ends = {_place_of(cursor): page.next for page in gathered.shares if (cursor := read_cursor(page.next)) is not None}
    complete = [row for row in batches if not ends or _place_of(row) <= min(ends)][:limit]
    following: str | None = None
    if ends or len(complete) < len(batches):
        following = _cursor_of(complete[-1]) if complete else ends[min(ends)]
    return BatchList(batches=complete, next=following, incomplete=gathered.incomplete)


def _progress(row: BatchRow) -> tuple[bool, int, int]:
    return row.status is not Status.OPEN, row.revision, row.arrived_count
