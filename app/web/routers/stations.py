"""The stations by how often they are missing, failed and slow.

A station's batches and its callbacks may be on different workers, so what each worker has counted is added up before
anything is ranked. It travels in lines of some hundred stations, so that no event loop is held up however many there
are, and a ranking is used again for a moment.
"""

from __future__ import annotations

import asyncio
import bisect
import time
from enum import StrEnum
from http import HTTPStatus
from typing import Annotated, Final, NamedTuple

import orjson
from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import ConfigDict, Field, FiniteFloat, TypeAdapter

from app.observability.histogram import Histogram
from app.web import paging as cursors
from app.web.cluster import INTERNAL, Cluster
from app.web.errors import Refusal
from app.web.models import Answer
from app.web.parts import Part, part_of
from app.web.queries import LIMIT, CursorQuery, LimitQuery, LocalQuery, MayBeEmpty
from app.web.state import WorkerState

__all__ = ["Stations", "stations_router"]

_STATIONS: Final = "/stations"
_LINE: Final = 500  # stations
_FRESH: Final = 1.0  # seconds for which a ranking is used again


class StationRow(Answer):
    """One station since the workers' starts."""

    station_id: str
    arrivals: int = Field(description="Batches in which it arrived: with a result, failed or empty")
    misses: int
    failures: int = Field(description="Of the arrivals")
    empties: int = Field(description="Of the arrivals")
    p50: float | None = Field(
        description="Of its callback's durations, seconds to 5 %; null when it has not been called"
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
    incomplete: list[str] = Field(description="URLs of workers that did not answer")


# Where a station stands, the smaller, the further up: three numbers, negative since the largest come first, and its id.
_Place = tuple[float, float, float, str]


class _Tally:
    """One station, added up."""

    __slots__ = ("durations", "empties", "expected", "failures", "misses")

    def __init__(self) -> None:
        self.expected = self.misses = self.failures = self.empties = 0
        self.durations = Histogram()

    def row(self, station_id: str) -> StationRow:
        return StationRow(
            station_id=station_id,
            arrivals=self.expected - self.misses,
            misses=self.misses,
            failures=self.failures,
            empties=self.empties,
            p50=self.durations.quantile(0.5),
            p99=self.durations.quantile(0.99),
        )

    def place(self, station_id: str, order: Order) -> _Place:
        slowness = -(self.durations.quantile(0.99) or 0.0)
        if order is Order.SLOWNESS:
            return slowness, -self.misses, -self.failures, station_id
        return -self.misses, -self.failures, slowness, station_id


OrderQuery = Annotated[Order | None, MayBeEmpty(), Query(description="`misses` without it")]


class _Ranking(NamedTuple):
    made_at: float  # monotonic
    places: dict[Order, list[_Place]]  # of the orders that have been asked for
    tallies: dict[str, _Tally]
    incomplete: list[str]


_CURSORS: Final = TypeAdapter(tuple[Order, FiniteFloat, FiniteFloat, FiniteFloat, str], config=ConfigDict(strict=True))


class Stations:
    """The stations of the cluster, as one worker finds them."""

    def __init__(self, state: WorkerState, cluster: Cluster) -> None:
        self._state = state
        self._cluster = cluster
        self._latest: _Ranking | None = None
        self._making = asyncio.Lock()

    async def page(self, order: Order, limit: int, cursor: str | None, *, local: bool) -> StationList:
        """A page of the stations of all workers, or of what this one has counted."""
        last = _place(cursor, order) if cursor is not None else None
        ranking = await self._rank(local=True) if local else await self._ranking()
        places = await _places(ranking, order)
        start = bisect.bisect_right(places, last) if last is not None else 0
        page = places[start : start + limit]
        more = start + limit < len(places)
        return StationList(
            stations=[ranking.tallies[station_id].row(station_id) for *_, station_id in page],
            next=cursors.encode((order, *page[-1])) if more and page else None,
            incomplete=ranking.incomplete,
        )

    async def own_lines(self) -> list[bytes]:
        """What this worker has counted, in lines."""
        stations = list(self._state.statistics.stations().items())
        lines: list[bytes] = []
        for start in range(0, len(stations), _LINE):
            rows = [
                (name, one.expected, one.misses, one.failures, one.empties, one.durations.to_json())
                for name, one in stations[start : start + _LINE]
            ]
            lines.append(orjson.dumps(rows))
            await asyncio.sleep(0)
        return lines

    async def _ranking(self) -> _Ranking:
        async with self._making:
            if self._latest is None or time.monotonic() - self._latest.made_at > _FRESH:
                self._latest = None  # what is old need not be kept while a new one is made
                self._latest = await self._rank(local=False)
            return self._latest

    async def _rank(self, *, local: bool) -> _Ranking:
        gathered = await self._cluster.gather(_STATIONS, self.own_lines(), _read_part, local=local)
        tallies: dict[str, _Tally] = {}
        for line in (line for lines in gathered.parts for line in lines):
            _add(tallies, line)
            await asyncio.sleep(0)
        return _Ranking(time.monotonic(), {}, tallies, gathered.incomplete)


async def _places(ranking: _Ranking, order: Order) -> list[_Place]:
    if order not in ranking.places:
        names = list(ranking.tallies)
        places: list[_Place] = []
        for start in range(0, len(names), _LINE):
            places += [ranking.tallies[name].place(name, order) for name in names[start : start + _LINE]]
            await asyncio.sleep(0)
        places.sort()
        ranking.places[order] = places
    return ranking.places[order]


def _add(tallies: dict[str, _Tally], line: bytes) -> None:
    for name, expected, misses, failures, empties, durations in orjson.loads(line):
        tally = tallies.get(name)
        if tally is None:
            tally = tallies[name] = _Tally()
        tally.expected += expected
        tally.misses += misses
        tally.failures += failures
        tally.empties += empties
        tally.durations.merge(Histogram.from_json(durations))


def _write_part(part: Part[list[bytes]]) -> bytes:
    return b"\n".join([orjson.dumps(sorted(part.partitions)), *part.answer])


def _read_part(body: bytes) -> Part[list[bytes]]:
    head, *lines = body.split(b"\n")
    return Part(partitions=frozenset(orjson.loads(head)), answer=lines)


def _place(cursor: str, order: Order) -> _Place:
    try:
        cursors_order, first, second, third, station_id = cursors.decode(cursor, _CURSORS)
    except ValueError as error:
        raise Refusal(HTTPStatus.BAD_REQUEST, "bad-request", f"cursor: {error}") from None
    if cursors_order is not order:
        message = f"cursor: is of the order {cursors_order}, not {order}"
        raise Refusal(HTTPStatus.BAD_REQUEST, "bad-request", message)
    return first, second, third, station_id


def stations_router(state: WorkerState, stations: Stations) -> APIRouter:
    """`/stations`, and what workers ask each other for it."""
    router = APIRouter(tags=["statistics"])

    @router.get("/stations")
    async def listing(
        order: OrderQuery = None, limit: LimitQuery = None, cursor: CursorQuery = None, local: LocalQuery = None
    ) -> StationList:
        """The stations since the workers' starts.

        A cursor names the place of the last row of its page; a station that has changed places meanwhile may be shown
        twice or be left out.
        """
        return await stations.page(order or Order.MISSES, limit or LIMIT, cursor, local=bool(local))

    @router.get(INTERNAL + _STATIONS, include_in_schema=False)
    async def part() -> Response:
        return Response(_write_part(part_of(state, await stations.own_lines())), media_type="application/jsonl")

    return router
