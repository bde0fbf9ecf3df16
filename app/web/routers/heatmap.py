"""What became of each station in the newest closed batches."""

from __future__ import annotations

import asyncio
import heapq
from collections import Counter, OrderedDict
from collections.abc import Sequence
from itertools import islice
from typing import Annotated, Final, NamedTuple
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from pydantic import Field, TypeAdapter

from app.web.cluster import INTERNAL, Cluster
from app.web.models import Answer
from app.web.parts import Part, part_of
from app.web.queries import LocalQuery
from app.web.state import WorkerState
from tables.model.enums import CompletedBy
from tables.model.events import Decision
from tables.working_set import WorkingSet

__all__ = ["Heatmap", "cells_of", "heatmap_router"]

_HEATMAP: Final = "/heatmap"
_REMEMBERED: Final = 200  # batches whose cells are kept, for the next look
RESULT, EMPTY, FAILED, MISSING, NOT_EXPECTED = "refm-"

Batches = Annotated[int, Query(ge=1, le=100, description="Columns at most")]
Stations = Annotated[int, Query(ge=1, le=1000, description="Rows at most")]


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
    cells: str  # in the order of the part's stations


class _Own(Answer):
    stations: list[str]
    batches: list[_OwnColumn]


class _Cells(NamedTuple):
    revision: int
    stations: tuple[str, ...]
    codes: str


_PART: Final = TypeAdapter(Part[_Own])


class Heatmap:
    """The map of the cluster, as one worker makes it."""

    def __init__(self, state: WorkerState, cluster: Cluster) -> None:
        self._state = state
        self._cluster = cluster
        self._known: OrderedDict[str, _Cells] = OrderedDict()

    async def whole(self, batches: int, stations: int, *, local: bool) -> HeatmapAnswer:
        """The map of all workers, or of this one's batches."""
        path = f"{_HEATMAP}?{urlencode({'batches': batches})}"
        gathered = await self._cluster.gather(path, self.own(batches), _PART.validate_json, local=local)
        columns = {column.batch_id: (column, part.stations) for part in gathered.parts for column in part.batches}
        newest = heapq.nlargest(batches, columns.values(), key=lambda one: (one[0].closed_at, one[0].batch_id))[::-1]
        rows = await _rows(newest, stations)
        shown = [
            Column(batch_id=column.batch_id, closed_at=column.closed_at, completed_by=column.completed_by)
            for column, _ in newest
        ]
        return HeatmapAnswer(batches=shown, stations=rows, incomplete=gathered.incomplete)

    async def own(self, batches: int) -> _Own:
        """The newest batches of this worker, each with the cells of all stations that are expected in any of them."""
        newest = heapq.nlargest(
            batches,
            (one for working_set in self._state.working_sets().values() for one in _closed(working_set, batches)),
            key=lambda one: (one[1].closed_at, one[1].batch_id),
        )
        found: list[tuple[Column, _Cells]] = []
        for working_set, column, revision in newest:
            cells = self._cells(working_set, column.batch_id, revision)
            if cells is not None:  # it may have been forgotten meanwhile
                found.append((column, cells))
            await asyncio.sleep(0)
        stations = list(dict.fromkeys(station for _, cells in found for station in cells.stations))
        columns: list[_OwnColumn] = []
        for column, cells in found:
            code_of = dict(zip(cells.stations, cells.codes, strict=True))
            codes = "".join([code_of.get(station, NOT_EXPECTED) for station in stations])
            columns.append(_OwnColumn(**column.model_dump(), cells=codes))
            await asyncio.sleep(0)
        return _Own(stations=stations, batches=columns)

    def _cells(self, working_set: WorkingSet, batch_id: str, revision: int) -> _Cells | None:
        known = self._known.get(batch_id)
        if known is None or known.revision != revision:
            decision = working_set.decision_of(batch_id)
            if decision is None:
                return None
            known = self._known[batch_id] = _Cells(revision, decision.expected, cells_of(decision))
        self._known.move_to_end(batch_id)
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return known


def cells_of(decision: Decision) -> str:
    """A letter for each expected station."""
    codes = dict.fromkeys(decision.expected, RESULT)
    codes.update(dict.fromkeys(decision.empty, EMPTY))
    codes.update(dict.fromkeys((station for station, _ in decision.failed), FAILED))
    codes.update(dict.fromkeys(decision.missing, MISSING))
    return "".join(codes.values())


def _closed(working_set: WorkingSet, count: int) -> list[tuple[WorkingSet, Column, int]]:
    """The newest closed batches of a partition, published or not, with their revisions."""
    found = [
        (
            working_set,
            Column(batch_id=one.batch_id, closed_at=one.first_closed_at, completed_by=one.completed_by),
            one.revision,
        )
        for one in islice(reversed(working_set.closed.values()), count)
    ]
    for batch in working_set.closing.values():
        if (decision := batch.decision) is not None:
            column = Column(batch_id=batch.batch_id, closed_at=decision.closed_at, completed_by=decision.completed_by)
            found.append((working_set, column, decision.revision))
    return found


async def _rows(columns: Sequence[tuple[_OwnColumn, list[str]]], count: int) -> list[Row]:
    bad: Counter[str] = Counter()
    missing: Counter[str] = Counter()
    known: dict[str, None] = {}
    by_column: list[dict[str, str]] = []
    for column, stations in columns:
        code_of = dict(zip(stations, column.cells, strict=False))
        expected = [station for station, code in code_of.items() if code != NOT_EXPECTED]
        known.update(dict.fromkeys(expected))
        missed = [station for station in expected if code_of[station] == MISSING]
        missing.update(missed)
        bad.update(missed)
        bad.update(station for station in expected if code_of[station] == FAILED)
        by_column.append(code_of)
        await asyncio.sleep(0)
    worst = heapq.nsmallest(count, known, key=lambda station: (-bad[station], -missing[station], station))
    return [
        Row(station_id=station, cells="".join([code_of.get(station, NOT_EXPECTED) for code_of in by_column]))
        for station in worst
    ]


def heatmap_router(state: WorkerState, heatmap: Heatmap) -> APIRouter:
    """`/heatmap`, and what workers ask each other for it."""
    router = APIRouter(tags=["statistics"])

    @router.get("/heatmap")
    async def whole(batches: Batches = 30, stations: Stations = 100, local: LocalQuery = None) -> HeatmapAnswer:
        """What became of the stations in the newest closed batches."""
        return await heatmap.whole(batches, stations, local=bool(local))

    @router.get(INTERNAL + _HEATMAP, include_in_schema=False)
    async def part(batches: Batches) -> Part[_Own]:
        return part_of(state, await heatmap.own(batches))

    return router
