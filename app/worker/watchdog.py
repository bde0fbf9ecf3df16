"""A watchdog that ends a worker which can't go on by itself: a supervisor restarts it, and the work is done again.

Three things are watched: a partition that stands still although there is more to read, a broker that has been away for
longer than the user's patience, and a broker that answers while the group does not: the worker then owns nothing, sends
nothing, and would wait for ever.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from dataclasses import dataclass
from typing import Protocol

from faust.types import TP

from app.callbacks.handlers import FIRST_BACKOFF
from app.observability.log_lines import Line, Shown, tell
from app.pipeline.build import Pipeline
from app.settings import Settings
from app.words import told, words
from app.worker.shutdown import EXIT_BROKER, stop_at_once
from app.worker.status import Worker

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
LOOK_LATE = 10.0  # between two looks: it was not the group that did not answer, but we that did not run
LONGEST_RECOVERY = 120.0
QUIET_SECONDS = 5.0  # without a heartbeat's answer, before the broker is asked

# In session timeouts, after the first one, in which the group forgets us. A rebalance, in which there are no
# heartbeats, waits for the session of a dead member at most.
TROUBLED_AFTER = 3.5
LOST_AFTER = 12.0  # a member that is alive and blocked holds up a rebalance for Faust's 60 s
_NO_ANSWER = words("no answer", "没有应答")


class Watched(Worker, Protocol):
    """The worker that is watched: `AggregatorApp`."""

    @property
    def session_timeout(self) -> float:
        """Seconds without a heartbeat after which the group forgets it."""

    @property
    def pipeline(self) -> Pipeline:
        """The pipeline; there once the worker has started."""

    async def broker_answers(self) -> bool:
        """Say whether a broker answers."""

    def fail(self, error: BaseException) -> None:
        """Stop it at once."""


def patience_of(settings: Settings) -> float:
    """Seconds that a partition may stand still: longer than any callback, broker outage and recovery take.

    A station that passes through is done when its handler is.
    """
    handler = 0.0
    if settings.station_result_handler is not None:
        attempts = settings.handler_retries + 1
        handler = attempts * settings.handler_timeout + FIRST_BACKOFF * 2**attempts
    return settings.station_timeout + handler + settings.broker_patience + LONGEST_RECOVERY


@dataclass(slots=True)
class Place:
    """A place at which a partition stands, and since when.

    Attributes:
        offset: of the oldest message that is not acknowledged.
        left: outcomes for which that waits if it is a frame of station events.
        since: when it last moved, monotonic, seconds.
        settled: outcomes of all frames until then, and stored ones of stations that pass through.
        ahead: outcomes that may come before the next one of this frame: of the calls that were there then, each of
            which counts twice if it passes through. They are a movement, too; what came later is not.
        counted: how many of these have come.
    """

    offset: int | None
    left: int | None
    since: float
    settled: int = 0
    ahead: int = 0
    counted: int = 0

    def moves(self, settled: int) -> bool:
        """Count the outcomes that have come; return whether there was one that may come before this frame's."""
        before, self.counted = self.counted, min(settled - self.settled, self.ahead)
        return self.counted > before


class Watchdog:
    """Looks every second whether partitions move, the broker answers, and the group does.

    Attributes:
        trouble: what is wrong with this worker, so that it is not alive as users see it; None when all is well.
    """

    def __init__(self, worker: Watched) -> None:
        self._worker = worker
        self._patience = patience_of(worker.settings)
        self._places: dict[TP, Place] = {}
        self._away_since: float | None = None
        self._lost_since: float | None = None
        self._looked = -math.inf
        self.trouble: str | None = None

    async def run(self) -> None:
        """Look until the worker stops."""
        while not self._worker.should_stop:
            await asyncio.sleep(LOOK_SECONDS)
            await self._look_at_broker()
            self.look_at_group(time.monotonic())
            if not self._worker.ready() or self._away_since is not None:
                self._places.clear()
                continue
            for tp in self.stuck(time.monotonic()):
                place = f"{tp.topic}[{tp.partition}]@{self._places[tp].offset}"
                self.trouble = f"{place} has stood still for {self._patience:g} s"
                self._worker.fail(RuntimeError(self.trouble))

    async def _look_at_broker(self) -> None:
        if self._away_since is None and self._worker.reader.heartbeat_age() < QUIET_SECONDS:
            return
        settings = self._worker.settings
        asked = time.monotonic()
        servers = Shown(", ".join(settings.bootstrap_servers))
        if await self._worker.broker_answers():
            if self._away_since is not None:
                away = time.monotonic() - self._away_since
                tell(logger, logging.INFO, settings.log_language, Line.BROKER_BACK, broker=servers, away=away)
            self._away_since = None
        elif self._away_since is None:
            self._away_since = asked
            about = {
                "broker": servers,
                "patience": settings.broker_patience,
                "error": told(_NO_ANSWER, settings.log_language),
            }
            tell(logger, logging.WARNING, settings.log_language, Line.BROKER_AWAY, **about)
        elif time.monotonic() - self._away_since > settings.broker_patience:
            away = time.monotonic() - self._away_since
            gone = words(
                "the broker at {servers} has been away for {away:.0f} s, longer than AGG_BROKER_PATIENCE ({limit:g} s)",
                "{servers} 的 Kafka 已不可用 {away:.0f} 秒，超过 AGG_BROKER_PATIENCE（{limit:g} 秒）",
                servers=servers,
                away=away,
                limit=settings.broker_patience,
            )
            stop_at_once(EXIT_BROKER, told(gone, settings.log_language))

    def look_at_group(self, now: float) -> None:
        """End a worker whose group does not answer although the broker does. `now` is monotonic, seconds.

        Before the first heartbeat a start has as long as the longest recovery.
        """
        session = self._worker.session_timeout
        age = self._worker.reader.heartbeat_age()
        before, self._looked = self._looked, now
        if age <= session or self._away_since is not None:
            self._lost_since = self.trouble = None
            return
        if self._lost_since is None or now - before > LOOK_LATE:
            self._lost_since = now
        lost = now - self._lost_since
        starting = math.isinf(age)
        if lost <= (LONGEST_RECOVERY if starting else TROUBLED_AFTER * session):
            return
        since = "the start" if starting else f"{age:.0f} s"
        self.trouble = f"the broker answers, but the group has not answered this worker's heartbeats since {since}"
        if starting or lost > LOST_AFTER * session:
            self._worker.fail(RuntimeError(self.trouble))

    def stuck(self, now: float) -> list[TP]:
        """Partitions that have not moved for too long although there is more to read. `now` is monotonic, seconds."""
        consumer, pipeline, settings = self._worker.reader, self._worker.pipeline, self._worker.settings
        # While enough batches are open, their topics are not read on.
        held_back = settings.batch_topics if pipeline.open_batches.waiting else ()
        read = frozenset(settings.pipeline_topics)
        stuck: list[TP] = []
        for tp in consumer.ledger.partitions():
            if tp.topic not in read:  # an agent of the user's may take its time
                continue
            here, place = self._place(tp, now), self._places.get(tp)
            if place is None or (here.offset, here.left) != (place.offset, place.left):
                self._places[tp] = here
            elif place.moves(here.settled) or not consumer.is_behind(tp) or tp.topic in held_back:
                place.since = now
            elif now - place.since > self._patience:
                stuck.append(tp)
        return stuck

    def _place(self, tp: TP, now: float) -> Place:
        """Return where a partition stands. A frame of slow stations is done with the last of them."""
        offset = self._worker.reader.ledger.committable(tp)
        stations = self._worker.pipeline.stations
        if tp.topic != self._worker.settings.station_events_topic or offset is None:
            return Place(offset, None, now)
        moves = stations.settled + stations.stored_singles
        return Place(offset, stations.left(tp.partition, offset), now, moves, 2 * stations.unsettled)
