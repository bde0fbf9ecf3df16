"""The stations of a source message, written for frames as soon as they have been read.

What waits to be sent is bytes: parsed records that wait push each other out of the processor's cache. By the thousand
they cost more than twice as much as those of one message. Of a message that is read in pieces nothing else is kept from
one piece to the next, either: parsed it would take six times its bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from typing import Any, NamedTuple

import orjson

from app.inputs.grouping import MOST_REJECTS, Reject, SourceBatch, UnusableTimes
from app.inputs.pieces import NotCutError
from app.messages.frames import FRAME_BYTES, FRAME_EVENTS, encode_body
from app.messages.partitioner import Partitioner
from app.pipeline.splitting.limits import oversize
from app.settings.types import LARGEST_RECORD
from tables.context import Record
from tables.model.fast_dataclass import fast_dataclass
from tables.storage import exact_json

STATION_BYTES = LARGEST_RECORD  # of one station in one source message
_AIM_BYTES = FRAME_BYTES * 3 // 4  # of a body, by the mean size of a station: few are then larger than a frame


class TooDeepError(ValueError):
    """The records may be nested too deeply: what has been read is to be checked as a whole."""


class Body(NamedTuple):
    """Stations of one partition: how many they are, and their bytes by `encode_body`."""

    partition: int
    stations: int
    data: bytes


class Refused(NamedTuple):
    """A station whose records no internal message can carry, as JSON, and why."""

    station_id: str
    data: bytes
    error: str


@fast_dataclass(frozen=True, slots=True)
class WrittenStations:
    """The stations of a source message; `ids` in the order in which it names them."""

    ids: tuple[str, ...] = ()
    bodies: list[Body] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)


class StationWriter:
    """Writes stations by partition, in bodies of at most FRAME_EVENTS stations and FRAME_BYTES.

    A station that is larger by itself has a body of its own.
    """

    def __init__(self, partitioner: Partitioner, max_record_bytes: int) -> None:
        self._partition_of = partitioner
        self._max_record_bytes = max_record_bytes
        self._surely_small = min(max_record_bytes, STATION_BYTES)

    def write(self, batch: SourceBatch, size: int) -> WrittenStations:
        """Write the stations of a message of so many bytes.

        Raises:
            TooDeepError: only where the batch is `unchecked`.
        """
        stations = batch.stations
        written = WrittenStations(tuple(stations))
        most = max(1, min(FRAME_EVENTS, _AIM_BYTES * len(stations) // max(1, size)))
        for partition, group in self._by_partition(stations).items():
            for start in range(0, len(group), most):
                part = group if len(group) <= most else group[start : start + most]
                data = _deep(part, 7) if batch.unchecked else encode_body(part)
                if len(data) <= self._surely_small and (len(data) <= FRAME_BYTES or len(part) == 1):
                    # A named tuple's own way takes three times as long, and few stations mean many bodies.
                    written.bodies.append(tuple.__new__(Body, (partition, len(part), data)))
                else:
                    one_by_one = ((station_id, exact_json.dumps(records)[1:-1]) for station_id, records in part)
                    for _ in self.pack(written, partition, one_by_one, exact=batch.exact):
                        pass
        return written

    def _by_partition(self, stations: Mapping[str, list[Record]]) -> dict[int, list[tuple[str, list[Record]]]]:
        groups: dict[int, list[tuple[str, list[Record]]]] = {}
        partition_of = self._partition_of
        for station in stations.items():
            partition = partition_of(station[0])
            group = groups.get(partition)
            if group is None:
                groups[partition] = [station]
            else:
                group.append(station)
        return groups

    def pack(
        self, written: WrittenStations, partition: int, stations: Iterable[tuple[str, bytes]], *, exact: bool
    ) -> Iterator[None]:
        """Write stations of which the records are JSON already, without the brackets; see `SourceBatch.exact`.

        Yields:
            After each body: a few milliseconds' work.
        """
        mark = exact_json.MARK if exact else b""
        parts: list[bytes] = []
        size = 0
        for station_id, records in stations:
            data = b"[%b,[%b]]" % (orjson.dumps(station_id), records)
            if len(data) > self._surely_small and (error := self._too_large(station_id, data)):
                written.refused.append(Refused(station_id, data, error))
                continue
            if parts and size + len(data) + 3 > FRAME_BYTES:
                written.bodies.append(_joined(partition, parts, mark))
                parts, size = [], 0
                yield
            parts.append(data)
            size += len(data) + 1
        if parts:
            written.bodies.append(_joined(partition, parts, mark))
            yield

    def _too_large(self, station_id: str, data: bytes) -> str | None:
        """Return what is wrong with a station's records if they, or one of them, are too large."""
        if len(data) <= STATION_BYTES:
            records = exact_json.loads(data)[1]
            return oversize(f"station {station_id}", records, len(data), self._max_record_bytes)
        return (
            f"ValueError: the records of station {station_id} are {len(data)} bytes of JSON, more than the "
            f"{STATION_BYTES} that a station may have in one message"
        )


class PieceWriter:
    """Writes the stations of a message that is read in pieces; each is written before the next one is read."""

    def __init__(self, writer: StationWriter, partitioner: Partitioner, most_stations: int) -> None:
        self._writer = writer
        self._partition_of = partitioner
        self._most_stations = most_stations
        self._stations: dict[str, list[bytes]] = {}  # records as JSON, without the brackets
        self._rejects: list[Reject] = []
        self._timestamp: int | None = None
        self._unreadable: str | None = None
        self._ahead: dict[str, str] = {}
        self._exact = self._untimed = False

    def add(self, batch: SourceBatch) -> None:
        """Take what has been read of a piece.

        Raises:
            NotCutError: all of the message must be known to say what is wrong with it, or with a record.
            TooDeepError: only where a batch is `unchecked`.
        """
        for station_id, records in batch.stations.items():
            data = _deep(records, 9) if batch.unchecked else exact_json.dumps(records)
            self._stations.setdefault(station_id, []).append(data[1:-1])
        self._rejects += batch.rejects
        times = [time for time in (self._timestamp, batch.timestamp) if time is not None]
        self._timestamp = max(times, default=None)
        self._unreadable = self._unreadable or batch.unusable.unreadable
        for station_id, time in batch.unusable.ahead.items():
            self._ahead.setdefault(station_id, time)
        self._exact |= batch.exact
        self._untimed |= batch.untimed
        if self._untimed and self._timestamp is not None:
            message = "records without a usable time beside others"
            raise NotCutError(message)
        if len(self._stations) > self._most_stations or len(self._rejects) > MOST_REJECTS:
            message = "too many stations, or too many records that can't be used"
            raise NotCutError(message)

    def write(self, written: WrittenStations) -> Iterator[None]:
        """Write the stations of all pieces, partition by partition; for what is yielded see `StationWriter.pack`."""
        by_partition: dict[int, list[str]] = {}
        for station_id in self._stations:
            by_partition.setdefault(self._partition_of(station_id), []).append(station_id)
        for partition, ids in by_partition.items():
            joined = ((station_id, b",".join(self._stations.pop(station_id))) for station_id in ids)
            yield from self._writer.pack(written, partition, joined, exact=self._exact)

    def rest(self) -> tuple[SourceBatch, WrittenStations]:
        """Return the message without its stations, and those with their ids alone: `write` adds them."""
        unusable = UnusableTimes(self._unreadable, self._ahead)
        batch = SourceBatch(self._timestamp, {}, tuple(self._rejects), self._exact, unusable)
        return batch, WrittenStations(tuple(self._stations))


def _joined(partition: int, stations: Sequence[bytes], mark: bytes) -> Body:
    return Body(partition, len(stations), b"%b[%b]" % (mark, b",".join(stations)))


def _deep(value: Sequence[Any], levels: int) -> bytes:
    """Return the JSON of a list, and see to it that so many more levels around it have room.

    With those of the list there are ten around a record: an envelope of eight, and a list of records in an object.
    """
    for _ in range(levels):
        value = [value]
    try:
        return orjson.dumps(value)[levels:-levels]
    except orjson.JSONEncodeError as error:
        raise TooDeepError from error
