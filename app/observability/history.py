"""A worker's last hour in samples, for the plots of the dashboard. Kept in memory; pure, with times handed in."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from app.observability.histogram import Histogram
from app.observability.statistics import Statistics

__all__ = ["SLOT", "SLOTS", "History", "Sample"]

SLOT: Final = 10  # seconds between two samples; all workers take theirs at the same times, so that they can be added up
SLOTS: Final = 360


@dataclass(frozen=True, slots=True)
class Sample:
    """What a worker saw in the seconds before `at` (Unix seconds, a multiple of SLOT).

    `open_batches` and `lag` (messages that are not done) are as of then; `throughput` is stations that have arrived a
    second, in the batches that have closed meanwhile, and `durations` those of these batches.
    """

    at: int
    open_batches: int
    throughput: float
    durations: Histogram
    lag: int


class History:
    """Takes samples of what is counted."""

    def __init__(self, statistics: Statistics) -> None:
        self._statistics = statistics
        self._samples: deque[Sample] = deque(maxlen=SLOTS)
        self._since: float | None = None
        self._arrived = 0
        self._durations: dict[int, int] = {}

    def samples(self) -> Sequence[Sample]:
        """The samples, oldest first, at most an hour of them."""
        return list(self._samples)

    def take(self, now: float, *, open_batches: int, lag: int) -> None:
        """Take a sample (Unix seconds); of two in one slot the first one counts, as when a clock was put back."""
        at = int(now) // SLOT * SLOT
        if self._samples and at <= self._samples[-1].at < at + SLOTS * SLOT:
            return
        arrivals = self._statistics.metrics.arrivals
        arrived = arrivals["result"] + arrivals["empty"] + arrivals["failed"]
        counts = dict(self._statistics.batch_durations.counts)
        fresh = {bucket: count - self._durations.get(bucket, 0) for bucket, count in counts.items()}
        durations = Histogram.from_json([(bucket, count) for bucket, count in fresh.items() if count])
        elapsed = max(1.0, now - self._since) if self._since is not None else float(SLOT)
        self._samples.append(Sample(at, open_batches, (arrived - self._arrived) / elapsed, durations, lag))
        self._since, self._arrived, self._durations = now, arrived, counts
