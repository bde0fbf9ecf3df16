"""The stations: ranked by misses, failures and slowness; and their outcomes in the newest batches, as a heatmap.

Batches are counted in the tables, the durations of callbacks by the workers that run them. A station's batches and its
callbacks may be on different workers, so the counts of all are added up before anything is ranked. They travel in
slices of some hundred stations, so that no event loop is held up however many stations there are, and a ranking is used
again for a moment.
"""

from __future__ import annotations

import asyncio
import bisect
import heapq
import time
from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from enum import StrEnum
from http import HTTPStatus
from itertools import islice
from typing import Annotated, Final, NamedTuple
from urllib.parse import urlencode

import orjson
from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import ConfigDict, Field, FiniteFloat, TypeAdapter

from app.observability.counters import Histogram, StationCounters
from app.web.cluster import INTERNAL, Cluster, Share, share_of
from app.web.errors import Refusal, api_router
from app.web.figures import Fresh
from app.web.filters import Moment, SinceQuery, UntilQuery, moment_of, moment_text
from app.web.models import Answer
from app.web.paging import LIMIT, CursorQuery, LimitQuery, LocalQuery, MayBeEmpty, decode_place, encode_place
from app.web.state import WorkerState
from app.web.tallies import Tallies
from app.web.turns import Pace, Turns
from tables.model.enums import CompletedBy
from tables.model.events import Decision
from tables.tally import Tally
from tables.working_set import WorkingSet

_STATIONS: Final = "/stations"
_TALLIES: Final = "/tallies"  # of the workers: an older one's of /stations are counted since its start
_SLICE: Final = 100  # stations that are looked at without asking whether a turn is over: a millisecond
_FRESH: Final = 1.0  # seconds for which a ranking is used again

_HEATMAP: Final = "/heatmap"
_REMEMBERED: Final = 200  # batches whose cells are kept, for the next request
RESULT, EMPTY, FAILED, MISSING, NOT_EXPECTED = "refm-"


# -- the ranking -------------------------------------------------------------------------------------------------------


class StationRow(Answer):
    """One station in the closed batches that are remembered; the durations are since the workers' starts."""

    station_id: str
    arrivals: int = Field(description="Batches in which it arrived: with a result, failed or empty")
    misses: int
    failures: int = Field(description="Of the arrivals")
    empties: int = Field(description="Of the arrivals")
    p50: float | None = Field(
        description="Of its callback's durations, seconds to 5 %, under 1 ms about that of all stations; null when it "
        "has not been called"
    )
    p99: float | None


class Order(StrEnum):
    """Which stations come first: most missing, then most failed, then slowest (p99); or slowest, then most missing."""

    MISSES = "misses"
    SLOWNESS = "slowness"


class StationList(Answer):
    """One page of stations."""

    stations: list[StationRow]
    next: str | None = Field(description="The `cursor` of the next page; null on the last one")
    incomplete: list[str] = Field(
        description="URLs of workers that did not answer, or have not counted all of their batches in time"
    )


OrderQuery = Annotated[Order | None, MayBeEmpty(), Query(description="`misses` without it")]

# Place of a station in an order: three numbers, negative because the largest come first, and its id.
_Place = tuple[float, float, float, str]
_CURSORS: Final = TypeAdapter(tuple[Order, FiniteFloat, FiniteFloat, FiniteFloat, str], config=ConfigDict(strict=True))


class _Ranking(NamedTuple):
    places: dict[Order, list[_Place]]  # of the orders that have been asked for
    stations: dict[str, StationCounters]
    incomplete: list[str]


class Stations:
    """The stations of the cluster, as one worker finds them."""

    def __init__(self, state: WorkerState, cluster: Cluster, tallies: Tallies, pace: Pace) -> None:
        self._state = state
        self._cluster = cluster
        self._tallies = tallies
        self._pace = pace
        self._made: Fresh[tuple[str, str], _Ranking] = Fresh()  # by range as it was asked for
        self._making = asyncio.Lock()

    def router(self) -> APIRouter:
        """Serve `/stations`, and the workers' shares of it."""
        router = api_router("statistics")
        router.get(_STATIONS)(self.listing)
        router.get(INTERNAL + _TALLIES, include_in_schema=False)(self.own_share)
        return router

    async def listing(
        self,
        *,
        order: OrderQuery = None,
        since: SinceQuery = None,
        until: UntilQuery = None,
        limit: LimitQuery = None,
        cursor: CursorQuery = None,
        local: LocalQuery = None,
    ) -> StationList:
        """The stations in the batches that closed in a range of time: without it, in all that are remembered.

        A worker's start or death changes none of their counts. A cursor names the place of the last row of its page; a
        station that has changed places meanwhile may be shown twice or be left out.
        """
        order, limit = order or Order.MISSES, limit or LIMIT
        last = _read_cursor(cursor, order) if cursor is not None else None
        asked = since or "", until or ""
        ranking = await self._rank(asked, local=True) if local else await self._ranking(asked)
        places = await _places(ranking, order, Turns(self._pace))
        start = bisect.bisect_right(places, last) if last is not None else 0
        page = places[start : start + limit]
        more = start + limit < len(places)
        return StationList(
            stations=[row_of_station(station_id, ranking.stations[station_id]) for *_, station_id in page],
            next=encode_place((order, *page[-1])) if more and page else None,
            incomplete=ranking.incomplete,
        )

    async def own_share(self, since: Moment | None = None, until: Moment | None = None, asked: str = "") -> Response:
        """Return the counts of this worker, a slice a line."""
        now = time.time()
        share = share_of(self._state, await self._own_slices((asked, ""), moment_of(since, now), moment_of(until, now)))
        body = b"\n".join([orjson.dumps(sorted(share.partitions)), *share.answer])
        return Response(body, media_type="application/jsonl")

    async def _own_slices(self, asked: tuple[str, str], since: float | None, until: float | None) -> list[bytes]:
        """Return the URL of this worker if it has not counted all, then its stations in slices."""
        tally, is_whole = await self._tallies.between(asked, since, until)
        counters = self._state.statistics.stations()
        names = list(tally.expected | counters.keys())
        slices, turns = [orjson.dumps(None if is_whole else self._state.url)], Turns(self._pace)
        for start in range(0, len(names), _SLICE):
            rows = [(name, *counts_of(tally, name, counters.get(name))) for name in names[start : start + _SLICE]]
            slices.append(orjson.dumps(rows))
            await turns.rest()
        return slices

    async def _ranking(self, asked: tuple[str, str]) -> _Ranking:
        async with self._making:
            ranking = self._made.get(asked)
            if ranking is None:
                ranking = await self._rank(asked, local=False)
                self._made.keep(asked, ranking, _FRESH)
            return ranking

    async def _rank(self, asked: tuple[str, str], *, local: bool) -> _Ranking:
        now = time.time()
        since, until = (moment_of(text or None, now) for text in asked)
        moments = {"since": moment_text(since), "until": moment_text(until)}
        query = urlencode({name: text for name, text in moments.items() if text} | {"asked": " ".join(asked)})
        gathered = await self._cluster.gather(
            f"{_TALLIES}?{query}", self._own_slices(asked, since, until), _read_share, local=local
        )
        stations, turns = dict[str, StationCounters](), Turns(self._pace)
        late = [url for slices in gathered.shares if (url := orjson.loads(slices[0])) is not None]
        for counts in (counts for slices in gathered.shares for counts in slices[1:]):
            _add(stations, counts)
            await turns.rest()
        # A worker may have run callbacks of a station that none of the batches expected.
        expected = {name: counters for name, counters in stations.items() if counters.expected}
        return _Ranking({}, expected, sorted({*gathered.incomplete, *late}))


async def _places(ranking: _Ranking, order: Order, turns: Turns) -> list[_Place]:
    if order not in ranking.places:
        stations = list(ranking.stations.items())
        places: list[_Place] = []
        for start in range(0, len(stations), _SLICE):
            places += [_place_of(name, counters, order) for name, counters in stations[start : start + _SLICE]]
            await turns.rest()
        places.sort()
        ranking.places[order] = places
    return ranking.places[order]


def _place_of(station_id: str, counters: StationCounters, order: Order) -> _Place:
    slowness = -(counters.durations.quantile(0.99) or 0.0)
    if order is Order.SLOWNESS:
        return slowness, -counters.misses, -counters.failures, station_id
    return -counters.misses, -counters.failures, slowness, station_id


def row_of_station(station_id: str, counters: StationCounters) -> StationRow:
    """Return the row of a station."""
    return StationRow(
        station_id=station_id,
        arrivals=counters.arrivals,
        misses=counters.misses,
        failures=counters.failures,
        empties=counters.empties,
        p50=counters.durations.quantile(0.5),
        p99=counters.durations.quantile(0.99),
    )


def _add(stations: dict[str, StationCounters], counts: bytes) -> None:
    for name, expected, misses, failures, empties, durations in orjson.loads(counts):
        if (counters := stations.get(name)) is None:
            counters = stations[name] = StationCounters()
        merge_counts(counters, (expected, misses, failures, empties, durations))


Counts = tuple[int, int, int, int, list[tuple[int, int]]]
"""Counters of a station as they travel: expected, misses, failures, empties, and its durations as a histogram."""


def counts_of(tally: Tally, station: str, counters: StationCounters | None) -> Counts:
    """Return the counts of a station as they travel, with the durations that a worker has counted, if any."""
    durations = [] if counters is None else counters.durations.to_json()
    return tally.expected[station], tally.misses[station], tally.failures[station], tally.empties[station], durations


def merge_counts(counters: StationCounters, counts: Counts) -> None:
    """Add what `counts_of` has made."""
    expected, misses, failures, empties, durations = counts
    counters.expected += expected
    counters.misses += misses
    counters.failures += failures
    counters.empties += empties
    counters.durations.merge(Histogram.from_json(durations))


def _read_share(body: bytes) -> Share[list[bytes]]:
    head, *slices = body.split(b"\n")
    return Share(partitions=frozenset(orjson.loads(head)), answer=slices)


def _read_cursor(cursor: str, order: Order) -> _Place:
    order_of_cursor, first, second, third, station_id = decode_place(cursor, _CURSORS)
    if order_of_cursor is not order:
        message = f"cursor: is of the order {order_of_cursor}, not {order}"
        raise Refusal(HTTPStatus.BAD_REQUEST, "bad-request", message)
    return first, second, third, station_id


# -- the heatmap -------------------------------------------------------------------------------------------------------

BatchesQuery = Annotated[int, Query(ge=1, le=100, description="Columns at most")]
StationsQuery = Annotated[int, Query(ge=1, le=1000, description="Rows at most")]


class Column(Answer):
    """One closed batch."""

    batch_id: str
    closed_at: float = Field(description="Unix seconds; of its first closing")
    completed_by: CompletedBy


class Row(Answer):
    """One station."""

    station_id: str
    cells: str = Field(
        description="A letter for each batch: r result, e empty, f failed, m missing, - not expected",
        pattern="^[refm-]*$",
    )


class HeatmapAnswer(Answer):
    """Stations by batches: the newest batches, oldest first; the stations most missing or failed in them first."""

    batches: list[Column]
    stations: list[Row]
    incomplete: list[str] = Field(description="URLs of workers that did not answer")


class _OwnColumn(Column):
    cells: str  # in the order of the share's stations


class _Own(Answer):
    stations: list[str]
    batches: list[_OwnColumn]


class _Cells(NamedTuple):
    revision: int
    stations: tuple[str, ...]
    codes: str


_HEATMAP_SHARE: Final = TypeAdapter(Share[_Own])


class Heatmap:
    """The heatmap of the cluster, as one worker makes it."""

    def __init__(self, state: WorkerState, cluster: Cluster, pace: Pace) -> None:
        self._state = state
        self._cluster = cluster
        self._pace = pace
        self._known: OrderedDict[str, _Cells] = OrderedDict()

    def router(self) -> APIRouter:
        """Serve `/heatmap`, and the workers' shares of it."""
        router = api_router("statistics")
        router.get(_HEATMAP)(self.whole)
        router.get(INTERNAL + _HEATMAP, include_in_schema=False)(self.own_share)
        return router

    async def whole(
        self, batches: BatchesQuery = 30, stations: StationsQuery = 100, local: LocalQuery = None
    ) -> HeatmapAnswer:
        """What became of the stations in the newest closed batches."""
        path = f"{_HEATMAP}?{urlencode({'batches': batches})}"
        gathered = await self._cluster.gather(path, self._own(batches), _HEATMAP_SHARE.validate_json, local=bool(local))
        columns = {column.batch_id: (column, share.stations) for share in gathered.shares for column in share.batches}
        newest = heapq.nlargest(batches, columns.values(), key=lambda one: (one[0].closed_at, one[0].batch_id))[::-1]
        rows = await _rows(newest, stations, Turns(self._pace))
        return HeatmapAnswer(batches=[column for column, _ in newest], stations=rows, incomplete=gathered.incomplete)

    async def own_share(self, batches: BatchesQuery) -> Share[_Own]:
        """Return the newest batches of this worker, each with the cells of all stations that are expected in any."""
        return share_of(self._state, await self._own(batches))

    async def _own(self, batches: int) -> _Own:
        turns, sets = Turns(self._pace), self._state.working_sets()
        closed = [one for partition in sets for one in _closed(partition, sets[partition], batches)]
        found: list[tuple[Column, _Cells]] = []
        for one in heapq.nlargest(batches, closed):
            working_set = sets.get(one.partition)  # it may have been taken away meanwhile
            cells = None if working_set is None else self._cells(working_set, one.batch_id, one.revision)
            if cells is not None:  # it may have been forgotten meanwhile
                column = Column(batch_id=one.batch_id, closed_at=one.closed_at, completed_by=one.completed_by)
                found.append((column, cells))
            await turns.rest()
        stations = list(dict.fromkeys(station for _, cells in found for station in cells.stations))
        columns: list[_OwnColumn] = []
        for column, cells in found:
            code_of = dict(zip(cells.stations, cells.codes, strict=True))
            codes = "".join([code_of.get(station, NOT_EXPECTED) for station in stations])
            columns.append(_OwnColumn(**dict(column), cells=codes))
            await turns.rest()
        return _Own(stations=stations, batches=columns)

    def _cells(self, working_set: WorkingSet, batch_id: str, revision: int) -> _Cells | None:
        known = self._known.get(batch_id)
        if known is None or known.revision != revision:
            decision = working_set.decision_of(batch_id)
            if decision is None:
                return None
            known = self._known[batch_id] = _Cells(revision, decision.expected, _cells_of(decision))
        self._known.move_to_end(batch_id)
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return known


def _cells_of(decision: Decision) -> str:
    """Return a letter for each expected station."""
    codes = dict.fromkeys(decision.expected, RESULT)
    codes.update(dict.fromkeys(decision.empty, EMPTY))
    codes.update(dict.fromkeys((station for station, _ in decision.failed), FAILED))
    codes.update(dict.fromkeys(decision.missing, MISSING))
    return "".join(codes.values())


class _Closed(NamedTuple):
    closed_at: float
    batch_id: str
    completed_by: CompletedBy
    revision: int
    partition: int


def _closed(partition: int, working_set: WorkingSet, count: int) -> Iterator[_Closed]:
    """Find the newest closed batches of a partition, published or not."""
    for one in islice(working_set.closed_in_order(newest_first=True), count):
        yield _Closed(one.first_closed_at, one.batch_id, one.completed_by, one.revision, partition)
    for decision in [batch.decision for batch in working_set.closing.values()]:
        if decision is not None:
            closing = decision.closed_at, decision.batch_id, decision.completed_by, decision.revision
            yield _Closed(*closing, partition)


async def _rows(columns: Sequence[tuple[_OwnColumn, list[str]]], count: int, turns: Turns) -> list[Row]:
    bad: Counter[str] = Counter()
    missing: Counter[str] = Counter()
    by_column: list[dict[str, str]] = []
    for column, stations in columns:
        codes = {name: code for name, code in zip(stations, column.cells, strict=False) if code != NOT_EXPECTED}
        missing.update(name for name, code in codes.items() if code == MISSING)
        bad.update({name: code in (MISSING, FAILED) for name, code in codes.items()})
        by_column.append(codes)
        await turns.rest()
    worst = heapq.nsmallest(count, bad, key=lambda station: (-bad[station], -missing[station], station))
    return [
        Row(station_id=station, cells="".join([codes.get(station, NOT_EXPECTED) for codes in by_column]))
        for station in worst
    ]
