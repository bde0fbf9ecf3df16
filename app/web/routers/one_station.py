"""One station: its row, what became of it in the newest batches, its latest record and its context."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Collection, Iterator, Mapping, Sequence
from http import HTTPStatus
from time import perf_counter
from typing import Annotated, Any, Final
from urllib.parse import urlencode

import orjson
from fastapi import APIRouter, Path, Query
from fastapi.responses import Response
from pydantic import Field, JsonValue, TypeAdapter

from app.observability.counters import StationCounters
from app.web.cluster import INTERNAL, Cluster, Share, share_of
from app.web.errors import SHOWN_CHARACTERS, Refusal, api_router, described
from app.web.last_record import last_record
from app.web.models import STATUS_OF, Answer, OutcomeStatus
from app.web.paging import LocalQuery, MayBeEmpty
from app.web.routers.stations import Counts, StationRow, counts_of, merge_counts, row_of_station
from app.web.state import WorkerState
from app.web.tallies import Tallies
from app.web.topics import NotReadable
from app.web.turns import HURRIED, Pace, Turns
from tables.closed_batches import ClosedBatch
from tables.looks import course_of, outcome_of
from tables.model.batch import Batch
from tables.model.events import Source
from tables.storage import exact_json
from tables.working_set import WorkingSet

WITHIN: Final = 1.9  # seconds of an answer
BATCHES: Final = 50
SEARCH_SECONDS: Final = 1.1  # of a search for batches that expected the station
_STATION: Final = "/one-station"  # of the workers: an older one's counts are since its start

StationId = Annotated[str, Path(description="As the source messages name it")]
NamedQuery = Annotated[
    str | None,
    MayBeEmpty(),
    Query(
        alias="station",
        description="The station, where `station_id` is empty: for names that no path can hold, `.`, `..` and those "
        "with a line break",
    ),
]
BatchesQuery = Annotated[
    Annotated[int, Field(ge=1, le=1000)] | None,
    MayBeEmpty(),
    Query(description=f"Outcomes at most, 1 to 1000; {BATCHES} without it"),
]


class StationOutcome(Answer):
    """What became of the station in one closed batch."""

    batch_id: str
    closed_at: float = Field(description="Unix seconds")
    status: OutcomeStatus
    duration: float | None = Field(
        description="Of its callback, seconds; null when it was not called, or its worker does not remember it"
    )
    error: str | None = Field(description="Of a failed one")


class StationAnswer(StationRow):
    """One station in the closed batches that are remembered; p50 and p99 are since the workers' starts."""

    outcomes: list[StationOutcome] = Field(description="In the newest closed batches that expected it, newest first")
    last_record: dict[str, JsonValue] | None = Field(
        description="Its latest record in the newest message that names it, of a message of more than 1 MiB the last "
        "one; null when Kafka has that message no more, or does not answer in time"
    )
    context: dict[str, JsonValue] | None = Field(
        description="By context topic: `points` how many its callback would get now, `newest` the time of the latest "
        "(Unix seconds) and its `age` (seconds), null where none has a time, `columns` the latest 12 points; only "
        "`error` where its records can't be aligned; null while the worker that keeps it is away"
    )
    incomplete: list[str] = Field(
        description="URLs of workers that did not answer, or have not looked into all of their batches in time"
    )


_Found = tuple[str, float, OutcomeStatus, str | None]  # batch, closing, status, error


class _Own(Answer):
    counts: Counts
    url: str
    outcomes: list[_Found]  # newest first
    is_whole: bool  # of outcomes so many as were asked for, or all that there are; and all batches are counted
    durations: dict[str, float]  # by batch
    named_at: tuple[float, str, int, int] | None  # the newest message that names it: its splitting, and its place
    context: str | None  # JSON


_SHARE: Final = TypeAdapter(Share[_Own])


class OneStation:
    """Single stations of the cluster, as one worker finds them."""

    def __init__(self, state: WorkerState, cluster: Cluster, tallies: Tallies, pace: Pace) -> None:
        self._state = state
        self._cluster = cluster
        self._tallies = tallies
        self._pace = pace

    def router(self) -> APIRouter:
        """Serve `/stations/{station_id}`, and the workers' shares of it."""
        router = api_router("statistics")
        answers: dict[int | str, dict[str, Any]] = {200: {"model": StationAnswer}}
        unknown = described(
            {404: "It is in no batch that is remembered", 504: "Not all batches could be looked into (`not-searched`)"}
        )
        router.get("/stations/{station_id:path}", response_class=Response, responses=answers | unknown)(self.station)
        router.get(INTERNAL + _STATION, include_in_schema=False)(self.own_share)
        return router

    async def station(
        self,
        station_id: StationId,
        query_id: NamedQuery = None,
        batches: BatchesQuery = None,
        local: LocalQuery = None,
    ) -> Response:
        """One station: its outcomes in the newest batches, its latest record, its context."""
        station_id = station_id or query_id or ""
        give_up_at = asyncio.get_running_loop().time() + WITHIN
        most = batches or BATCHES
        gathered = await self._cluster.gather(
            f"{_STATION}?{urlencode({'station': station_id, 'batches': most})}",
            self._own(station_id, most),
            _SHARE.validate_json,
            local=bool(local),
        )
        shares = gathered.shares
        named = max((share.named_at for share in shares if share.named_at is not None), default=None)
        incomplete = sorted({*gathered.incomplete, *(share.url for share in shares if not share.is_whole)})
        if named is None and incomplete:
            message = (
                f"station {station_id[:SHOWN_CHARACTERS]} is in no batch that was looked into in time; not all were by "
                f"{', '.join(incomplete)}"
            )
            raise Refusal(HTTPStatus.GATEWAY_TIMEOUT, "not-searched", message)
        if named is None:
            message = f"station {station_id[:SHOWN_CHARACTERS]} is in no batch that is remembered"
            raise Refusal(HTTPStatus.NOT_FOUND, "unknown-station", message)
        record = await self._last_record(station_id, Source(*named[1:]), give_up_at)
        counters = StationCounters()
        for share in shares:
            merge_counts(counters, share.counts)
        context = next((share.context for share in shares if share.context is not None), None)
        answer = {
            **dict(row_of_station(station_id, counters)),
            "outcomes": _outcomes(shares, most),
            "last_record": orjson.Fragment(exact_json.dumps(record)),
            "context": None if context is None else orjson.Fragment(context),
            "incomplete": incomplete,
        }
        return Response(orjson.dumps(answer), media_type="application/json")

    async def own_share(self, station: str, batches: Annotated[int, Query(ge=1, le=1000)]) -> Share[_Own]:
        """Return what this worker knows of a station."""
        return share_of(self._state, await self._own(station, batches))

    async def _own(self, station: str, most: int) -> _Own:
        statistics = self._state.statistics
        sets = dict(self._state.working_sets())
        counters = statistics.stations().get(station)
        outcomes, all_found = await _newest_outcomes(sets, station, most, Turns(self._pace, HURRIED))
        tally, all_counted = await self._tallies.between(("", ""), None, None)
        context = self._state.context_of(station)
        return _Own(
            counts=counts_of(tally, station, counters),
            url=self._state.url,
            outcomes=outcomes,
            is_whole=all_found and all_counted,
            durations=statistics.times.seconds_of(station),
            named_at=_newest_naming(sets, station, [batch_id for batch_id, *_ in outcomes]),
            context=None if context is None else exact_json.dumps(context).decode(),
        )

    async def _last_record(self, station: str, source: Source, give_up_at: float) -> Mapping[str, Any] | None:
        left = give_up_at - asyncio.get_running_loop().time()
        try:
            message = await asyncio.wait_for(self._state.topics.source_message(source), max(0.1, left))
        except (NotReadable, TimeoutError):
            return None
        return None if message is None else await last_record(message, station, self._state.settings, Turns(self._pace))


async def _newest_outcomes(
    sets: Mapping[int, WorkingSet], station: str, most: int, turns: Turns
) -> tuple[list[_Found], bool]:
    """Find what became of a station in the newest closed batches of these partitions, newest first.

    The second says whether all batches have been looked into, or so many outcomes been found as were asked for.
    """
    give_up_at = perf_counter() + SEARCH_SECONDS
    found: list[_Found] = []
    is_whole = True
    lists: list[list[tuple[float, int, str]]] = []
    for partition, working_set in sets.items():
        lists.append(_closings(partition, working_set))
        await turns.rest()
    for closed_at, partition, batch_id in heapq.merge(*lists, key=lambda one: -one[0]):
        outcome = outcome_of(sets[partition], batch_id, station)
        if outcome is not None:
            found.append((batch_id, closed_at, STATUS_OF[outcome.code], outcome.error))
            if len(found) == most:
                break
        await turns.rest()
        if perf_counter() > give_up_at:
            is_whole = False
            break
    found.sort(key=lambda one: (-one[1], one[0]))
    return found, is_whole


def _closings(partition: int, working_set: WorkingSet) -> list[tuple[float, int, str]]:
    """Return the closed batches of a partition with the times of their closings, nearly in order, newest first."""
    closing = [batch.decision for batch in working_set.closing.values()]
    decided = [(one.closed_at, partition, one.batch_id) for one in closing if one is not None]
    lines = [(one.closed_at, partition, one.batch_id) for one in working_set.closed_in_order(newest_first=True)]
    return [*decided[::-1], *lines]


def _newest_naming(
    sets: Mapping[int, WorkingSet], station: str, closed: Collection[str]
) -> tuple[float, str, int, int] | None:
    """Return the splitting and the place of the newest message that names a station, in open batches and in these."""
    open_batches = [batch for working_set in sets.values() for batch in working_set.open.values()]
    sources = [batch.expected[station] for batch in open_batches if station in batch.expected]
    opened = [(line.opened_at, one, batch_id) for one, batch_id, line in _lines(sets, closed)]
    if opened:
        _, working_set, batch_id = max(opened, key=lambda found: (found[0], found[2]))
        course = course_of(working_set, batch_id)
        sources += [source for source in course.sources if station in source.stations] if course is not None else []
    return max(((source.opened_at, *source.source) for source in sources), default=None)


def _lines(
    sets: Mapping[int, WorkingSet], closed: Collection[str]
) -> Iterator[tuple[WorkingSet, str, ClosedBatch | Batch]]:
    for working_set in sets.values():
        closing = working_set.closing
        for batch_id in closed:
            line = working_set.closed.get(batch_id) or closing.get(batch_id)
            if line is not None:
                yield working_set, batch_id, line


def _outcomes(shares: Sequence[_Own], most: int) -> list[dict[str, Any]]:
    durations: dict[str, float] = {}
    for share in shares:
        durations |= share.durations
    by_batch = {found[0]: found for share in shares for found in share.outcomes}
    newest = sorted(by_batch.values(), key=lambda found: (-found[1], found[0]))[:most]
    return [
        {
            "batch_id": batch_id,
            "closed_at": closed_at,
            "status": status,
            "duration": durations.get(batch_id),
            "error": error,
        }
        for batch_id, closed_at, status, error in newest
    ]
