"""Ends a worker that can't go on by itself, so that a supervisor restarts it and the work is done again.

Two things are watched: a partition that stands still although there is more to read, and a broker that has been away
for longer than the user's patience.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from faust.types import TP

from app.log import Line, Shown, say

if TYPE_CHECKING:
    from app.worker import AggregatorApp

__all__ = ["Watchdog", "patience_of"]

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
LONGEST_RECOVERY = 120.0
QUIET_SECONDS = 5.0  # without a heartbeat's answer, before the broker is asked


def patience_of(*, station_timeout: float, broker_patience: float) -> float:
    """Seconds that a partition may stand still: longer than any callback, broker outage and recovery take."""
    return station_timeout + broker_patience + LONGEST_RECOVERY


class Watchdog:
    """Looks every second whether partitions move and the broker answers."""

    def __init__(self, app: AggregatorApp) -> None:
        self._app = app
        settings = app.settings
        self._patience = patience_of(station_timeout=settings.station_timeout, broker_patience=settings.broker_patience)
        self._moved: dict[TP, tuple[tuple[int | None, int], float]] = {}
        self._away_since: float | None = None

    async def run(self) -> None:
        """Look until the worker stops."""
        while not self._app.should_stop:
            await asyncio.sleep(LOOK_SECONDS)
            await self._look_at_broker()
            if not self._app.ready() or self._away_since is not None:
                self._moved.clear()
                continue
            for tp in self.stuck(time.monotonic()):
                place = f"{tp.topic}[{tp.partition}]@{self._moved[tp][0][0]}"
                self._app.fail(RuntimeError(f"{place} has stood still for {self._patience:g} s"))

    async def _look_at_broker(self) -> None:
        if self._away_since is None and self._app.reader.heartbeat_age() < QUIET_SECONDS:
            return
        settings = self._app.settings
        asked = time.monotonic()
        servers = Shown(", ".join(settings.bootstrap_servers))
        if await self._app.broker_answers():
            if self._away_since is not None:
                away = time.monotonic() - self._away_since
                logger.info("%s", say(settings.log_language, Line.BROKER_BACK, broker=servers, away=away))
            self._away_since = None
        elif self._away_since is None:
            self._away_since = asked
            error = "no answer"
            line = say(
                settings.log_language,
                Line.BROKER_AWAY,
                broker=servers,
                patience=settings.broker_patience,
                error=error,
            )
            logger.warning("%s", line)
        elif time.monotonic() - self._away_since > settings.broker_patience:
            self._app.give_up_on_broker(time.monotonic() - self._away_since)

    def stuck(self, now: float) -> list[TP]:
        """Partitions that have not moved for too long although there is more to read. `now` is monotonic, seconds."""
        consumer = self._app.reader
        stuck: list[TP] = []
        for tp in consumer.ledger.partitions():
            # A frame of slow stations is done with the last of them; until then each outcome is a movement.
            settled = self._app.settled if tp.topic == self._app.settings.station_events_topic else 0
            place = (consumer.ledger.committable(tp), settled)
            last, since = self._moved.get(tp, (None, now))
            if place != last or not consumer.is_behind(tp):
                self._moved[tp] = (place, now)
            elif now - since > self._patience:
                stuck.append(tp)
        return stuck
