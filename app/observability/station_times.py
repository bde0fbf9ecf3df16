"""The times at which callbacks ran on this worker, of its latest batches: in memory, and gone with the process.

To let them travel with the outcomes would take a dozen bytes and more than 0.1 µs for each station, and be read for one
batch in a thousand. Here a stretch of callbacks that ran in a row is one entry, whatever its length: the lists that are
there anyway are kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

STATIONS: Final = 50_000  # whose times are kept: 500 batches of 100 stations, in some 6 MB


class CallTimes(NamedTuple):
    """When a callback began, and when it ended: Unix seconds."""

    started_at: float
    ended_at: float


class StationTimes:
    """When the callbacks of the latest batches ran. Pure."""

    def __init__(self, most: int = STATIONS) -> None:
        self._most = most
        self._count = 0
        # By batch: stations, the times at which the first of them began and each ended, and what is added to those.
        self._batches: dict[str, deque[tuple[Sequence[str], Sequence[float], float]]] = {}

    def add(self, batch_id: str, stations: Sequence[str], times: Sequence[float], now: float) -> None:
        """Take callbacks that ran in a row for stations of a batch, and have ended by now.

        Args:
            batch_id: the batch's.
            stations: ids, in the order of their callbacks.
            times: seconds on any clock: the beginning of the first, the end of each; perhaps more.
            now: Unix seconds of the last of these.
        """
        rows = self._batches.get(batch_id)
        if rows is None:
            rows = self._batches[batch_id] = deque()
        rows.append((stations, times, now - times[-1]))
        self._count += len(stations)
        while self._count > self._most and len(self._batches) > 1:
            oldest = self._batches.pop(next(iter(self._batches)))
            self._count -= sum([len(row[0]) for row in oldest])
        # A batch id that all messages share, by a header, is the only one that a worker may see.
        if self._count > self._most:
            (only,) = self._batches.values()
            while self._count > self._most and len(only) > 1:
                self._count -= len(only.popleft()[0])

    def of(self, batch_id: str) -> Mapping[str, CallTimes]:
        """Return the times by station, of the last call where there were several; empty where they are not known."""
        found: dict[str, CallTimes] = {}
        for stations, times, offset in self._batches.get(batch_id, ()):
            for station, (start, end) in zip(stations, pairwise(times), strict=False):
                found[station] = CallTimes(start + offset, end + offset)
        return found

    def seconds_of(self, station: str) -> dict[str, float]:
        """Return how long the callback of a station ran, by batch, as far as that is known."""
        found: dict[str, float] = {}
        for batch_id, rows in self._batches.items():
            for stations, times, _ in rows:
                if station in stations:
                    place = stations.index(station)
                    found[batch_id] = times[place + 1] - times[place]
        return found
