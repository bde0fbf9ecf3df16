"""The stations by how often they are missing, failed and slow.

A station's batches and its callbacks may be on different workers, so what each worker has counted is added up before
anything is ranked. It travels in lines of some hundred stations, so that no event loop is held up however many there
are, and a ranking is used again for a moment.
"""

from __future__ import annotations

import asyncio
import bisect
import time
from http import HTTPStatus
from typing import Final, NamedTuple

import orjson
from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import ConfigDict, Field, FiniteFloat, TypeAdapter

from app.histogram import Histogram
from app.web import cursors
from app.web.cluster import INTERNAL, Cluster
from app.web.errors import Refusal
from app.web.parts import Part, part_of
from app.web.queries import LIMIT, CursorQuery, LimitQuery, LocalQuery
from app.web.state import WorkerState
from app.web.views import Answer

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


class StationList(Answer):
    """One page of stations: most missing first, then most failed, then slowest (p99)."""

    stations: list[StationRow]
    next: str | None = Field(description="The `cursor` of the next page; null on the last one")
    incomplete: list[str] = Field(description="URLs of workers that did not answer")


class _Place(NamedTuple):
    """Where a station stands: the smaller, the further up."""

    misses: int  # negative, as the next two
    failures: int
    slowness: float
    station_id: str


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

    def place(self, station_id: str) -> _Place:
        return _Place(-self.misses, -self.failures, -(self.durations.quantile(0.99) or 0.0), station_id)


class _Ranking(NamedTuple):
    made_at: float  # monotonic
    places: list[_Place]
    tallies: dict[str, _Tally]
    incomplete: list[str]


_PLACES: Final = TypeAdapter(tuple[int, int, FiniteFloat, str], config=ConfigDict(strict=True))


class Stations:
    """The stations of the cluster, as one worker finds them."""

    def __init__(self, state: WorkerState, cluster: Cluster) -> None:
        self._state = state
        self._cluster = cluster
        self._latest: _Ranking | None = None
        self._making = asyncio.Lock()

    async def page(self, limit: int, cursor: str | None, *, local: bool) -> StationList:
        """A page of the stations of all workers, or of what this one has counted."""
        last = _place(cursor) if cursor is not None else None
        ranking = await self._rank(local=True) if local else await self._ranking()
        start = bisect.bisect_right(ranking.places, last) if last is not None else 0
        page = ranking.places[start : start + limit]
        more = start + limit < len(ranking.places)
        return StationList(
            stations=[ranking.tallies[place.station_id].row(place.station_id) for place in page],
            next=cursors.encode(page[-1]) if more and page else None,
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
        names = list(tallies)
        places: list[_Place] = []
        for start in range(0, len(names), _LINE):
            places += [tallies[name].place(name) for name in names[start : start + _LINE]]
            await asyncio.sleep(0)
        places.sort()
        return _Ranking(time.monotonic(), places, tallies, gathered.incomplete)


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


def _place(cursor: str) -> _Place:
    try:
        return _Place(*cursors.decode(cursor, _PLACES))
    except ValueError as error:
        raise Refusal(HTTPStatus.BAD_REQUEST, "bad-request", f"cursor: {error}") from None


def stations_router(state: WorkerState, stations: Stations) -> APIRouter:
    """`/stations`, and what workers ask each other for it."""
    router = APIRouter(tags=["statistics"])

    @router.get("/stations")
    async def listing(limit: LimitQuery = None, cursor: CursorQuery = None, local: LocalQuery = None) -> StationList:
        """The stations since the workers' starts: most missing first, then most failed, then slowest (p99).

        A cursor names the place of the last row of its page; a station that has changed places meanwhile may be shown
        twice or be left out.
        """
        return await stations.page(limit or LIMIT, cursor, local=bool(local))

    @router.get(INTERNAL + _STATIONS, include_in_schema=False)
    async def part() -> Response:
        return Response(_write_part(part_of(state, await stations.own_lines())), media_type="application/jsonl")

    return router
