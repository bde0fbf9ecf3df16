"""Station events of this worker's splitter on their way to its own station agent: what it can expect to come soon.

Only hints are made of it: when to split more, and how long to wait for outcomes that could travel together. Pure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container
from typing import Final

__all__ = ["Transit"]

LOST_SECONDS: Final = 1.0  # after which nothing more is expected


class Transit:
    """The frames that have been sent and not taken in, by partition.

    `own` gives the partitions that are this worker's: what goes to others is not seen again.
    """

    def __init__(self, own: Callable[[], Container[int]]) -> None:
        self._own = own
        # Partition -> the offset of each frame, when it was sent (Unix seconds), and how many stations it has, about.
        self._sent: dict[int, deque[tuple[int, float, float]]] = {}
        self._taken: dict[int, int] = {}  # partition -> up to which offset

    def sent(self, partition: int, offset: int, stations: float, now: float) -> None:
        """A frame of about so many stations stands at that offset; perhaps it has been taken in already."""
        if partition in self._own() and offset > self._taken.get(partition, -1):
            self._sent.setdefault(partition, deque()).append((offset, now, stations))

    def taken(self, partition: int, offset: int) -> None:
        """The station agent has come to that offset."""
        self._taken[partition] = offset
        frames = self._sent.get(partition)
        while frames and frames[0][0] <= offset:
            frames.popleft()

    def age(self, now: float) -> float:
        """For how many seconds the oldest frame has been under way, 0 where none is expected."""
        self._give_up(now)
        return now - min([frames[0][1] for frames in self._sent.values() if frames], default=now)

    def stations(self, now: float) -> float:
        """About how many stations are under way."""
        self._give_up(now)
        return sum([stations for frames in self._sent.values() for _, _, stations in frames])

    def _give_up(self, now: float) -> None:
        for frames in self._sent.values():
            while frames and not 0.0 <= now - frames[0][1] < LOST_SECONDS:
                frames.popleft()

    def drop(self) -> None:
        """The partitions are being taken away."""
        self._sent.clear()
        self._taken.clear()
