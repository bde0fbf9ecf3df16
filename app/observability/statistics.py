"""What a worker has seen since its start: of each station, of batches, and of callbacks. For the web and for metrics.

Cheap enough for every station: a batch is counted in one pass when it closes, a callback when it ends.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import log
from typing import Final

from app.messages.message import Clock
from app.observability.counters import Metrics
from app.observability.histogram import OFFSET, SCALE, Histogram, bucket_of
from tables.model.batch import FIRST_REVISION
from tables.model.enums import Status
from tables.model.events import Decision
from tables.working_set import WorkingSet

__all__ = ["MAX_STATIONS", "OUTCOMES", "StationCounters", "Statistics", "oldest_open_age", "open_batches"]

MAX_STATIONS: Final = 50_000  # that have counters of their own; those that come when there are so many have none
OUTCOMES: Final = ("result", "empty", "failed", "missing")
MINUTE: Final = 60  # seconds over which the throughput is measured


@dataclass(slots=True, eq=False)
class StationCounters:
    """One station: batches that expected it, what became of it in them, and how long its callbacks took (seconds)."""

    expected: int = 0
    misses: int = 0
    row: int = 0  # the latest misses with no arrival between them ...
    row_end: int = 0  # ... as of the `expected` at the last of them
    failures: int = 0
    empties: int = 0
    durations: Histogram = field(default_factory=Histogram)

    @property
    def arrivals(self) -> int:
        """Batches in which it arrived: with a result, failed or empty."""
        return self.expected - self.misses

    @property
    def missed_in_a_row(self) -> int:
        """How many of the latest batches, all of them, it has missed."""
        return self.row if self.row_end == self.expected else 0

    def miss(self) -> None:
        """It has missed the batch that was last counted as expecting it."""
        self.misses += 1
        self.row = self.row + 1 if self.row_end == self.expected - 1 else 1
        self.row_end = self.expected


class Statistics:
    """Counts what one worker sees: batches of its partitions, and callbacks that it has run.

    A station's batches and its callbacks may be on different workers: the whole is the sum over all of them.
    """

    def __init__(self, metrics: Metrics, clock: Clock) -> None:
        self.metrics = metrics
        self.batch_durations = Histogram()  # from the opening to the first closing
        self.callback_durations = Histogram()
        self.loop_lags = Histogram()  # how long what was ready waited for the event loop
        self.batch_seconds = 0.0  # the sums of these
        self.callback_seconds = 0.0
        self.loop_lag_seconds = 0.0
        self.stations_left_out = 0  # countings of stations that came after MAX_STATIONS others
        self._clock = clock
        self._started = clock()
        self._stations: dict[str, StationCounters] = {}
        self._arrived: deque[tuple[int, int]] = deque()  # second -> stations that arrived in it, of the last minute

    def stations(self) -> Mapping[str, StationCounters]:
        """Counters by station id, at most MAX_STATIONS."""
        return self._stations

    # -- counting ----------------------------------------------------------------------------------------------------

    def released(self, decision: Decision) -> None:
        """A batch has closed, or a revision of it has been made: only the first closing is looked at more closely."""
        if decision.revision > FIRST_REVISION:
            self.metrics.revisions += 1
        else:
            self._closed(decision)

    def _closed(self, decision: Decision) -> None:
        self.metrics.batches_closed[decision.completed_by] += 1
        if decision.status is Status.DISCARDED:
            self.metrics.discarded += 1
        duration = max(0.0, decision.closed_at - decision.opened_at)
        self.batch_durations.observe(duration)
        self.batch_seconds += duration
        known = self._stations
        for station in decision.expected:
            if (counters := known.get(station) or self._add(station)) is not None:
                counters.expected += 1
        for station in decision.missing:
            if (counters := known.get(station)) is not None:
                counters.miss()
        for station, _ in decision.failed:
            if (counters := known.get(station)) is not None:
                counters.failures += 1
        for station in decision.empty:
            if (counters := known.get(station)) is not None:
                counters.empties += 1
        arrivals = self.metrics.arrivals
        arrivals["result"] += len(decision.results)
        arrivals["failed"] += len(decision.failed)
        arrivals["empty"] += len(decision.empty)
        arrivals["missing"] += len(decision.missing)
        self._count_arrived(decision.arrived_count)

    def lagged(self, seconds: float) -> None:
        """The event loop has taken so long to get to something that was ready."""
        self.loop_lags.observe(seconds)
        self.loop_lag_seconds += seconds

    def callback(self, station: str, seconds: float) -> None:
        """A callback has ended, however it did."""
        try:
            bucket = int(log(seconds) * SCALE + OFFSET)  # what bucket_of does, without a call
        except (ValueError, OverflowError):
            bucket = bucket_of(seconds)
        self.callback_seconds += seconds
        counts = self.callback_durations.counts
        counts[bucket] = counts.get(bucket, 0) + 1
        counters = self._stations.get(station) or self._add(station)
        if counters is not None:
            counts = counters.durations.counts
            counts[bucket] = counts.get(bucket, 0) + 1

    def _add(self, station: str) -> StationCounters | None:
        if len(self._stations) >= MAX_STATIONS:
            self.stations_left_out += 1
            return None
        counters = self._stations[station] = StationCounters()
        return counters

    # -- throughput --------------------------------------------------------------------------------------------------

    def _count_arrived(self, stations: int) -> None:
        second = int(self._clock())
        if self._arrived and self._arrived[-1][0] == second:
            stations += self._arrived.pop()[1]
        self._arrived.append((second, stations))
        self._drop_old(second)

    def _drop_old(self, second: int) -> None:
        while self._arrived and not second - MINUTE < self._arrived[0][0] <= second:
            self._arrived.popleft()

    def throughput(self) -> float:
        """Stations per second that arrived in the batches closed over the last minute, or since the start."""
        now = self._clock()
        self._drop_old(int(now))
        span = min(float(MINUTE), max(1.0, now - self._started))
        return sum(stations for _, stations in self._arrived) / span


def open_batches(sets: Mapping[int, WorkingSet]) -> int:
    """Batches that are open in these partitions."""
    return sum(len(working_set.open) for working_set in sets.values())


def oldest_open_age(sets: Mapping[int, WorkingSet], now: float) -> float | None:
    """Seconds since the oldest open batch was opened; None when none is open. `now` is Unix seconds."""
    opened = [batch.opened_at for working_set in sets.values() for batch in working_set.open.values()]
    return max(0.0, now - min(opened)) if opened else None
