"""Stations of one message, from their frames to their outcomes: as a group, or one by one."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

from app.callbacks.scheduler import Call, CallGroup
from app.messages.frames import StationGroup
from app.messages.message import Delivery
from app.pipeline.stations.passthrough import SingleStation
from tables.context import Record
from tables.model.fast_dataclass import fast_dataclass

# Of one message, what came in frames of several partitions and has its turn as one group: stations, and bytes, about.
TOGETHER_STATIONS = 256
TOGETHER_BYTES = 128 * 1024


class FrameInProgress:
    """A frame that has been taken in: acknowledged when its context and the outcome of its last station are stored.

    Attributes:
        delivery: the frame's message.
        left: outcomes, and context, that are not stored.
        station_bytes: of each, about.
        refused: a dead letter of it has been made.
    """

    __slots__ = ("_done", "delivery", "left", "refused", "station_bytes")

    def __init__(self, delivery: Delivery, left: int, done: Callable[[Delivery], None]) -> None:
        self.delivery = delivery
        self.left = left
        self.station_bytes = delivery.message.size // left
        self.refused = False
        self._done = done

    def stored(self, count: int = 1) -> None:
        """Count so many more of its outcomes, or its context, as stored."""
        self.left -= count
        if not self.left:
            self._done(self.delivery)


Part = tuple[StationGroup, FrameInProgress]
"""Stations of a message that came in one frame."""


def together(parts: Iterable[Part]) -> Iterator[list[Part]]:
    """Put small parts of one message that follow one another together."""
    row: list[Part] = []
    stations = size = 0
    for part in parts:
        group, frame = part
        count = group.count
        more = count * frame.station_bytes
        stations += count
        size += more
        if row and (stations > TOGETHER_STATIONS or size > TOGETHER_BYTES or not _alike(row[0][0], group)):
            yield row
            row, stations, size = [], count, more
        row.append(part)
    if row:
        yield row


def _alike(one: StationGroup, other: StationGroup) -> bool:
    """Return whether both came of one splitting of one message; they differ in nothing but their stations then."""
    return one.opened_at == other.opened_at and one.source == other.source and one.deadline == other.deadline


@fast_dataclass(slots=True, eq=False)
class BatchStation:
    """A station's event of a batch, and where its outcome goes. `started` is set only where it is traced."""

    group: StationGroup
    batch_id: str
    records: list[Record]
    frame: FrameInProgress
    batch_partition: int
    started: float | None = None


StationCall = Call[BatchStation | SingleStation]


class Owner(Protocol):
    """The station agent, as a group sees it."""

    def inputs_of(self, group: StationGroup) -> Callable[[str, Sequence[Record]], dict[str, Any]]:
        """Return what makes the inputs of callbacks of stations of the group."""

    def stations_of(self, group: StationGroup, frame: FrameInProgress) -> Sequence[tuple[str, list[Record]]]:
        """Return stations and their records; none where they can't be read, which is dealt with then."""

    def take_results(self, group: BatchGroup, first: int, values: Sequence[str | None]) -> None:
        """Take results of stations in a row, whatever goes wrong."""


class BatchGroup(CallGroup[BatchStation | SingleStation]):
    """Stations of one message of a batch, from one frame or several.

    Attributes:
        batch_id: the batch's.
        partition: of the batch's log.
    """

    def __init__(self, owner: Owner, batch_id: str, deadline: float, partition: int, parts: Sequence[Part]) -> None:
        """A group that is not read yet; its parts differ in nothing but their stations and frames."""
        super().__init__(sum([group.count for group, _ in parts]), deadline)
        self.batch_id = batch_id
        self.partition = partition
        self.shared = parts[0][0]
        self._owner = owner
        self._parts = parts
        self._ends: list[int] = []  # of the parts, as indices of their stations

    def open(self) -> None:
        """Read the stations, once, when their turn has come. Those that can't be read are dealt with already."""
        events: list[tuple[str, list[Record]]] = []
        for group, frame in self._parts:
            events += self._owner.stations_of(group, frame)
            self._ends.append(len(events))
        if events:
            self.stations, self.records = zip(*events, strict=True)

    def inputs(self) -> Callable[[str, Sequence[Record]], dict[str, Any]]:
        """Return what makes the callback's second argument of a station and its records."""
        return self._owner.inputs_of(self.shared)

    def take(self, first: int, values: Sequence[str | None]) -> None:
        """Take the results of stations in a row, the first of them at that index."""
        self._owner.take_results(self, first, values)

    def call(self, index: int) -> StationCall:
        """Return a call of the station at that index, which needs one."""
        group, frame = self._parts[bisect_right(self._ends, index)]
        event = BatchStation(group, self.batch_id, self.records[index], frame, self.partition)
        return Call(self.stations[index], self.deadline, event)

    def stored(self, first: int, count: int) -> Iterator[tuple[Callable[[int], None], int]]:
        """Yield for so many stations from that index on what their frames are told, and how many are each one's."""
        begin = 0
        for end, (_, frame) in zip(self._ends, self._parts, strict=True):
            mine = min(end, first + count) - max(begin, first)
            if mine > 0:
                yield frame.stored, mine
            begin = end
