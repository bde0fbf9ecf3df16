"""Durations, counted in buckets that grow by a tenth: a quantile is right to 5 %, and two histograms can be merged."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil, log
from typing import Final

GROWTH: Final = 1.1  # from a bucket's lower to its upper bound; its middle stands for all: the error is sqrt(1.1) - 1
SHORTEST: Final = 1e-9  # seconds: where bucket 0 begins, which takes shorter durations, too
SCALE: Final = 1 / log(GROWTH)
OFFSET: Final = -log(SHORTEST) * SCALE


def bucket_of(seconds: float) -> int:
    """Return the bucket of a duration (seconds); 0 for numbers that are no duration."""
    try:
        return int(log(seconds) * SCALE + OFFSET)
    except (ValueError, OverflowError):  # 0, negative (a clock was put back), nan, inf
        return 0


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

    def merge(self, other: Histogram) -> None:
        """Add the counts of another histogram."""
        for bucket, count in other.counts.items():
            self.counts[bucket] = self.counts.get(bucket, 0) + count

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
