"""Ends a worker whose reading is stuck, so that a supervisor restarts it and the work is done again."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from faust.types import TP

if TYPE_CHECKING:
    from app.worker import AggregatorApp

__all__ = ["Watchdog", "patience_of"]

LOOK_SECONDS = 1.0
LONGEST_RECOVERY = 120.0


def patience_of(*, station_timeout: float, broker_patience: float) -> float:
    """Seconds that a partition may stand still: longer than any callback, broker outage and recovery take."""
    return station_timeout + broker_patience + LONGEST_RECOVERY


class Watchdog:
    """Looks at how far each partition is done while there is more to do in it."""

    def __init__(self, app: AggregatorApp) -> None:
        self._app = app
        settings = app.settings
        self._patience = patience_of(station_timeout=settings.station_timeout, broker_patience=settings.broker_patience)
        self._moved: dict[TP, tuple[int, float]] = {}

    async def run(self) -> None:
        """Look every second until the worker stops."""
        while not self._app.should_stop:
            await asyncio.sleep(LOOK_SECONDS)
            if not self._app.ready():
                self._moved.clear()
                continue
            for tp in self.stuck(time.monotonic()):
                place = f"{tp.topic}[{tp.partition}]@{self._moved[tp][0]}"
                self._app.fail(RuntimeError(f"{place} has stood still for {self._patience:g} s"))

    def stuck(self, now: float) -> list[TP]:
        """Partitions that have not moved for too long although there is more to read. `now` is monotonic, seconds."""
        consumer = self._app.reader
        stuck: list[TP] = []
        for tp in consumer.ledger.partitions():
            done = consumer.ledger.committable(tp)
            last, since = self._moved.get(tp, (None, now))
            if done != last or not consumer.is_behind(tp):
                self._moved[tp] = (done or 0, now)
            elif now - since > self._patience:
                stuck.append(tp)
        return stuck
