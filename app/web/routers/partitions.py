"""The partitions that the workers read, how far each is, and who has it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import chain
from typing import Final

from fastapi import APIRouter
from pydantic import Field, TypeAdapter

from app.web.cluster import INTERNAL, Cluster, Share, share_of
from app.web.errors import api_router
from app.web.models import Answer
from app.web.paging import LocalQuery
from app.web.state import WorkerState

_PARTITIONS: Final = "/partitions"


class PartitionRow(Answer):
    """One partition of a topic that is read: of a source, a context topic, or the application's events."""

    topic: str
    partition: int
    worker: str = Field(description="URL of the worker that it is assigned to")
    committed: int | None = Field(description="Offset up to which the group's progress is stored; null: not known yet")
    end: int | None = Field(description="Offset behind the last message; null: not known yet")
    lag: int | None = Field(description="Messages that are not done; null: not known yet")
    oldest_unacknowledged_at: float | None = Field(
        description="Time of the oldest message that has been read and is not done, Unix seconds; null: there is none"
    )
    recovering: bool = Field(description="Whether its worker is still taking over its assignment")


class PartitionList(Answer):
    """All partitions, by topic and number."""

    partitions: list[PartitionRow]
    incomplete: list[str] = Field(description="URLs of workers that did not answer")

    def lag(self, topics: Collection[str]) -> int | None:
        """Return how many messages of topics are not done, None where that is not known of each of their partitions."""
        lags = [row.lag for row in self.partitions if row.topic in topics]
        known = [lag for lag in lags if lag is not None]
        return sum(known) if lags and len(known) == len(lags) and not self.incomplete else None


_SHARE: Final = TypeAdapter(Share[list[PartitionRow]])


def partitions_router(state: WorkerState, cluster: Cluster) -> APIRouter:
    """Serve `/partitions`, and the workers' shares of it."""
    router = api_router("cluster")

    @router.get(_PARTITIONS)
    async def partitions(local: LocalQuery = None) -> PartitionList:
        """The partitions of all topics that are read, with their lag; changelogs are left out."""
        return await find_partitions(state, cluster, local=bool(local))

    @router.get(INTERNAL + _PARTITIONS, include_in_schema=False)
    async def partitions_share() -> Share[list[PartitionRow]]:
        return share_of(state, await _own(state))

    return router


async def find_partitions(state: WorkerState, cluster: Cluster, *, local: bool = False) -> PartitionList:
    """Return the partitions of all workers, or with `local` of this one."""
    gathered = await cluster.gather(_PARTITIONS, _own(state), _SHARE.validate_json, local=local)
    return PartitionList(partitions=_merged(chain(*gathered.shares)), incomplete=gathered.incomplete)


async def _own(state: WorkerState) -> list[PartitionRow]:
    recovering = not state.ready()
    return [
        PartitionRow(**standing._asdict(), worker=state.url, recovering=recovering) for standing in state.standings()
    ]


def _merged(rows: Iterable[PartitionRow]) -> list[PartitionRow]:
    """Return the rows in order; of two workers that claim a partition while it moves, the one that is ready."""
    found: dict[tuple[str, int], PartitionRow] = {}
    for row in sorted(rows, key=lambda row: not row.recovering):
        found[row.topic, row.partition] = row
    return [found[place] for place in sorted(found)]
