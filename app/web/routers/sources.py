"""The source topics: what of them is not done, and since when nothing has come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Final

from fastapi import APIRouter
from pydantic import Field

from app.web.cluster import DEADLINE, Cluster
from app.web.errors import api_router
from app.web.figures import Fresh
from app.web.models import Answer
from app.web.paging import LocalQuery
from app.web.routers.partitions import find_partitions
from app.web.state import WorkerState
from app.web.topics import Arrivals, NotReadable

USUAL_GAPS: Final = 3.0  # without a message, for a topic to be overdue
_ASK_AGAIN: Final = 5.0  # seconds for which the times of messages are used again
SLACK: Final = 2 * _ASK_AGAIN  # seconds by which what is known may be old: no shorter silence is overdue


class SourceRow(Answer):
    """One source topic."""

    topic: str
    lag: int | None = Field(description="Messages that are not done; null while that is not known")
    last_message_at: float | None = Field(
        description="Kafka's timestamp of the newest message, Unix seconds; null: there is none, or Kafka does not tell"
    )
    usual_gap: float | None = Field(
        description="Seconds without a message that are usual: half of the day before the last message (of a week "
        "where that has few) went by in gaps of about this or less; null with less than two messages"
    )
    overdue: bool = Field(
        description=f"Whether nothing has come for longer than {USUAL_GAPS:g} usual gaps, and than {SLACK:g} s"
    )


class SourceList(Answer):
    """All source topics, in the order of the settings, and the lag of the application's own topics."""

    sources: list[SourceRow]
    internal_lag: int | None = Field(description="Messages of the application's own topics that are not done")
    incomplete: list[str] = Field(description="URLs of workers that did not answer")


def sources_router(state: WorkerState, cluster: Cluster) -> APIRouter:
    """Serve `/sources`."""
    router = api_router("cluster")
    known: Fresh[str, Mapping[str, Arrivals]] = Fresh()
    asking = asyncio.Lock()

    @router.get("/sources")
    async def sources(local: LocalQuery = None) -> SourceList:
        """The source topics with their lag, the last message of each, and whether another one should have come."""
        found, arrivals = await asyncio.gather(find_partitions(state, cluster, local=bool(local)), arrivals_of())
        now, topics = time.time(), state.settings.started_topics
        rows = [_row(topic, found.lag([topic]), arrivals.get(topic), now) for topic in topics]
        internal = found.lag(state.settings.event_topics)
        return SourceList(sources=rows, internal_lag=internal, incomplete=found.incomplete)

    async def arrivals_of() -> Mapping[str, Arrivals]:
        """Ask Kafka every few seconds at most; nothing is known while it does not answer."""
        try:
            async with asyncio.timeout(DEADLINE), asking:
                arrivals = known.get("")
                if arrivals is None:
                    arrivals = await state.topics.arrivals(state.settings.started_topics)
                    known.keep("", arrivals, _ASK_AGAIN)
                return arrivals
        except (TimeoutError, NotReadable):
            return {}

    return router


def _row(topic: str, lag: int | None, arrivals: Arrivals | None, now: float) -> SourceRow:
    last, gap = arrivals if arrivals is not None else (None, None)
    return SourceRow(
        topic=topic,
        lag=lag,
        last_message_at=last,
        usual_gap=gap,
        overdue=last is not None and gap is not None and now - last > max(USUAL_GAPS * gap, SLACK),
    )
