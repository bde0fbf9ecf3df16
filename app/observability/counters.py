"""Counts of one worker: metrics; statistics of batches, stations and callbacks; durations.

Cheap enough for every station: a metric is one addition, a batch is counted in one pass when it closes, a callback when
it ends. Prometheus (prometheus.py) and the web read them. Pure, with times handed in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import ceil, log
from typing import Final, Literal, NamedTuple

from app.messages.message import Clock
from app.observability.station_times import StationTimes
from tables.model.batch import FIRST_REVISION
from tables.model.enums import Status
from tables.model.events import Decision
from tables.working_set import WorkingSet

Direction = Literal["in", "out"]

MAX_STATIONS: Final = 50_000  # that have counters of their own; stations that come later have none
OUTCOMES: Final = ("result", "empty", "failed", "missing")
MINUTE: Final = 60  # seconds over which the throughput is measured
SLOT: Final = 10  # seconds between two samples; all workers take theirs at the same times, so that they can be added up
SLOTS: Final = 360  # an hour
GROWTH: Final = 1.1  # from a bucket's lower to its upper bound; its middle stands for all: the error is sqrt(1.1) - 1
SHORTEST: Final = 1e-9  # seconds: where bucket 0 begins, which takes shorter durations, too
SCALE: Final = 1 / log(GROWTH)
OFFSET: Final = -log(SHORTEST) * SCALE
SHORT: Final = 1e-3  # seconds; of shorter callbacks that run in groups, a station's own durations are not kept


def bucket_of(seconds: float) -> int:
    """Return the bucket of a duration (seconds); 0 for numbers that are no duration."""
    try:
        return int(log(seconds) * SCALE + OFFSET)
    except (ValueError, OverflowError):  # 0, negative (a clock was put back), nan, inf
        return 0


_SHORT: Final = bucket_of(SHORT) - 1


def _middle(bucket: int) -> float:
    return float(SHORTEST * GROWTH ** (bucket + 0.5))


class Histogram:
    """Counts of durations (seconds) by bucket; only buckets that are used take room."""

    __slots__ = ("counts",)

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}

    @property
    def count(self) -> int:
        """Number of durations so far."""
        return sum(self.counts.values())

    def observe(self, seconds: float) -> None:
        """Count one duration."""
        bucket = bucket_of(seconds)
        self.counts[bucket] = self.counts.get(bucket, 0) + 1

    def observe_all(self, durations: Sequence[float]) -> None:
        """Count many durations (seconds), in half the time that one after the other takes."""
        try:
            self.add(Counter([int(log(seconds) * SCALE + OFFSET) for seconds in durations]))  # as `bucket_of` does
        except (ValueError, OverflowError):
            self.add(Counter(map(bucket_of, durations)))

    def add(self, counts: Mapping[int, int]) -> None:
        """Add counts by bucket."""
        for bucket, count in counts.items():
            self.counts[bucket] = self.counts.get(bucket, 0) + count

    def scaled(self, number: int) -> Mapping[int, int]:
        """Return the counts by bucket of so many durations, in whole numbers, that are distributed like these."""
        total, seen, given = self.count, 0, 0
        counts: dict[int, int] = {}
        for bucket in sorted(self.counts):
            seen += self.counts[bucket]
            due = (2 * number * seen + total) // (2 * total)
            if due > given:
                counts[bucket], given = due - given, due
        return counts

    def merge(self, other: Histogram) -> None:
        """Add the counts of another histogram."""
        self.add(other.counts)

    def quantile(self, q: float) -> float | None:
        """Return the duration that a share `q` (0 to 1) of all does not exceed, in seconds to 5 %; None without any."""
        rank = max(1, ceil(q * self.count))
        for bucket in sorted(self.counts):
            rank -= self.counts[bucket]
            if rank <= 0:
                return _middle(bucket)
        return None

    def up_to(self, bounds: Iterable[float]) -> list[int]:
        """Count, for each bound (seconds, ascending), the durations that do not exceed it; bounds are right to 5 %."""
        counts = [(_middle(bucket), self.counts[bucket]) for bucket in sorted(self.counts, reverse=True)]
        below: list[int] = []
        seen = 0
        for bound in bounds:
            while counts and counts[-1][0] <= bound:
                seen += counts.pop()[1]
            below.append(seen)
        return below

    def to_json(self) -> list[tuple[int, int]]:
        """Return pairs of a bucket and its count, for another worker's `from_json`."""
        return sorted(self.counts.items())

    @classmethod
    def from_json(cls, pairs: Iterable[Sequence[int]]) -> Histogram:
        """Read back `to_json`, also after it has been through JSON."""
        histogram = cls()
        for bucket, count in pairs:
            histogram.counts[bucket] = count
        return histogram


class Metrics:
    """Plain counts since the worker's start, named by the contract's words."""

    def __init__(self) -> None:
        self.source_messages = 0
        self.context_messages = 0
        self.context_too_old: Counter[str] = Counter()  # topic -> records that were older than their window
        self.empty_messages = 0
        self.stations_split = 0
        self.passthrough_stations = 0  # of these
        self.batches_opened = 0
        self.batches_closed: Counter[str] = Counter()  # completed_by -> batches
        self.discarded = 0  # of these batches
        self.revisions = 0  # outputs after a batch's first
        self.arrivals: Counter[str] = Counter()  # outcome (`OUTCOMES`) -> stations of closed batches
        self.late_outcomes: Counter[str] = Counter()  # reason -> outcomes
        self.late_dropped = 0  # of these outcomes
        self.dead_letters: Counter[str] = Counter()  # reason -> letters
        self.outbox_recoveries: Counter[str] = Counter()  # "found" | "sent" -> messages
        self.source_gaps = 0
        self.lost_offsets = 0
        self.log_restarts = 0
        self.frames: Counter[tuple[str, Direction]] = Counter()  # kind of topic and direction -> Kafka messages
        self.bytes: Counter[tuple[str, Direction]] = Counter()

    def moved(self, kind: str, direction: Direction, messages: int, size: int) -> None:
        """Count messages, and their bytes, that were read from topics of a kind, or written to them."""
        self.frames[kind, direction] += messages
        self.bytes[kind, direction] += size


class ContextSize(NamedTuple):
    """What a worker knows of a context topic.

    Attributes:
        records: of all of its stations.
        bytes: that these take in memory, about.
        newest: the latest of their times, Unix seconds; None where none has one.
    """

    records: int = 0
    bytes: int = 0
    newest: int | None = None

    def plus(self, records: int, size: int, newest: int | None) -> ContextSize:
        """Return it with more."""
        latest = max([time for time in (self.newest, newest) if time is not None], default=None)
        return ContextSize(self.records + records, self.bytes + size, latest)


@dataclass(slots=True, eq=False)
class StationCounters:
    """One station: the batches that expected it, its outcomes in them, and the durations of its callbacks (seconds)."""

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
        """Latest batches that it has missed, without an arrival since."""
        return self.row if self.row_end == self.expected else 0

    def miss(self) -> None:
        """Count a miss of the batch that was last counted as expecting it."""
        self.misses += 1
        self.row = self.row + 1 if self.row_end == self.expected - 1 else 1
        self.row_end = self.expected


class Statistics:
    """Statistics of one worker: of the batches of its partitions, and of the callbacks that it has run.

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
        self.last_loop_lag = 0.0
        self.context_heard: dict[str, float] = {}  # topic -> when the last of it came, Unix seconds
        self.times = StationTimes()
        self.stations_left_out = 0  # times a station was not counted, because MAX_STATIONS others have counters
        self._clock = clock
        self.started_at = clock()
        self._stations: dict[str, StationCounters] = {}
        self._short: Counter[str] = Counter()  # station -> its durations under SHORT that are in no counters of its own
        self._short_durations = Histogram()  # those of all stations

    def now(self) -> float:
        """Return the time by the worker's clock, Unix seconds."""
        return self._clock()

    def stations(self) -> Mapping[str, StationCounters]:
        """Return the counters by station id, at most MAX_STATIONS."""
        self._share_out()
        return self._stations

    def batches_of_stations(self) -> Mapping[str, StationCounters]:
        """Return the same, which costs less, but without the latest durations of callbacks."""
        return self._stations

    # -- counting ----------------------------------------------------------------------------------------------------

    def released(self, decision: Decision) -> None:
        """Count a first closing, station by station; of a revision only that there was one."""
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

    def lagged(self, seconds: float) -> None:
        """Count how long something that was ready has waited for the event loop."""
        self.loop_lags.observe(seconds)
        self.loop_lag_seconds += seconds
        self.last_loop_lag = seconds

    def callback(self, station: str, seconds: float) -> None:
        """Count the end of a callback, whatever its outcome."""
        try:
            bucket = int(log(seconds) * SCALE + OFFSET)  # what bucket_of does, without a call
        except (ValueError, OverflowError):
            bucket = bucket_of(seconds)
        self.callback_seconds += seconds
        counts = self.callback_durations.counts
        counts[bucket] = counts.get(bucket, 0) + 1
        self._callback(station, bucket)

    def callbacks(self, stations: Sequence[str], times: Sequence[float]) -> None:
        """Count the ends of callbacks that ran in a row; `times` are the start of the first and the end of each.

        The same as `callback` for each of them, but that of those under SHORT only the number is kept for each station:
        to look up the counters of a station costs more than all the rest.
        """
        try:
            buckets = [int(log(end - start) * SCALE + OFFSET) for start, end in pairwise(times)]  # as above
        except (ValueError, OverflowError):
            buckets = [bucket_of(end - start) for start, end in pairwise(times)]
        self.callback_seconds += times[-1] - times[0]
        counts = Counter(buckets)
        self.callback_durations.add(counts)
        if max(buckets) > _SHORT:
            for station, bucket in zip(stations, buckets, strict=True):
                self._callback(station, bucket)
            return
        self._short_durations.add(counts)
        self._short.update(stations)
        if len(self._short) > MAX_STATIONS:
            self._share_out()

    def _callback(self, station: str, bucket: int) -> None:
        counters = self._stations.get(station) or self._add(station)
        if counters is not None:
            counts = counters.durations.counts
            counts[bucket] = counts.get(bucket, 0) + 1

    def _share_out(self) -> None:
        """Give each station its number of short durations, distributed like those of all stations together."""
        shares: dict[int, Mapping[int, int]] = {}
        for station, number in self._short.items():
            counters = self._stations.get(station) or self._add(station)
            if counters is not None:
                if number not in shares:
                    shares[number] = self._short_durations.scaled(number)
                counters.durations.add(shares[number])
        self._short.clear()
        self._short_durations = Histogram()

    def _add(self, station: str) -> StationCounters | None:
        if len(self._stations) >= MAX_STATIONS:
            self.stations_left_out += 1
            return None
        counters = self._stations[station] = StationCounters()
        return counters


# -- open batches ------------------------------------------------------------------------------------------------------


def open_batches(sets: Mapping[int, WorkingSet]) -> int:
    """Count the open batches of these partitions."""
    return sum(len(working_set.open) for working_set in sets.values())


def oldest_open_age(sets: Mapping[int, WorkingSet], now: float) -> float | None:
    """Return the seconds since the oldest open batch was opened; None when none is open. `now` is Unix seconds."""
    opened = [batch.opened_at for working_set in sets.values() for batch in working_set.open.values()]
    return max(0.0, now - min(opened)) if opened else None
