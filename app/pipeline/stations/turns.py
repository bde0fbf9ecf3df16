"""The order in which the stations of several frames get their turn. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from operator import itemgetter
from typing import Generic, TypeVar

from app.messages.frames import StationGroup

__all__ = ["Turns"]

Frame = TypeVar("Frame")


class Turns(Generic[Frame]):
    """Groups of station events from the frames of several partitions, in the order in which their messages were split.

    A batch's stations are spread over all partitions. Taken one partition after the other, every batch of a backlog
    would wait for the last partition; in this order the oldest is complete first, and its outcomes travel together.
    The groups of one partition keep their order whatever the clocks of the splitters say, and so do a station's calls.
    """

    def __init__(self) -> None:
        self.stations = 0
        self._turns: list[tuple[float, StationGroup, Frame]] = []
        self._latest: dict[int, float] = {}

    def add(self, partition: int, groups: Iterable[StationGroup], frame: Frame) -> None:
        """The groups of a frame, behind those that the partition has here already."""
        latest = self._latest.get(partition, -math.inf)
        for group in groups:
            latest = max(latest, group.opened_at)
            self._turns.append((latest, group, frame))
            self.stations += len(group.stations)
        self._latest[partition] = latest

    def take(self) -> list[tuple[float, StationGroup, Frame]]:
        """All of them in order, each with what it is sorted by and its frame; nothing is left."""
        turns = sorted(self._turns, key=itemgetter(0))
        self.stations = 0
        self._turns.clear()
        self._latest.clear()
        return turns
