"""The stations of a source message, written for frames as soon as they have been read.

What waits to be sent is bytes: parsed records that wait push each other out of the processor's cache. By the thousand
they cost more than twice as much as those of one message. Of a message that is read in pieces nothing else is kept from
one piece to the next, either: parsed it would take six times its bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from typing import NamedTuple

import orjson

from app.inputs.grouping import (
    MOST_REJECTS,
    BadMessage,
    SourceBatch,
    dumps_shallow,
    too_many_rejects,
    too_many_stations,
    untimed_reject,
)
from app.inputs.records import Piece
from app.messages.frames import FRAME_BYTES, FRAME_EVENTS, encode_body
from app.messages.partitioner import Partitioner
from app.pipeline.splitting.limits import oversize
from app.settings.types import LARGEST_RECORD
from tables.context import Record
from tables.model.fast_dataclass import fast_dataclass
from tables.storage import exact_json

STATION_BYTES = LARGEST_RECORD  # of one station in one source message
_AIM_BYTES = FRAME_BYTES * 3 // 4  # of a body, by the mean size of a station: few are then larger than a frame
# Of a body of a large message, whose stations have windows. It is parsed as a whole, when its turn comes: of more than
# that the records push each other out of the processor's cache.
_BODY_BYTES = 96 * 1024
REJECTS_AT_ONCE = 1_000


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
                data = dumps_shallow(part, 7) if batch.unchecked else encode_body(part)
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

        The bodies are small: these are stations of many records.

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
            if parts and (size + len(data) + 3 > _BODY_BYTES or len(parts) == FRAME_EVENTS):
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
    """Writes the stations of a message that is read in pieces."""

    def __init__(self, writer: StationWriter, partitioner: Partitioner, most_stations: int) -> None:
        self._writer = writer
        self._partition_of = partitioner
        self._most_stations = most_stations
        self._whole = Piece()
        self._rejects = 0  # so far

    def add(self, piece: Piece) -> None:
        """Take what has been read of a piece. Of a bad message no records are kept, only what `settle` says of it."""
        whole, rejects = self._whole, piece.rejects
        keeps = not self._too_many()
        for station_id, records in piece.stations.items():
            of_station = whole.stations.setdefault(station_id, [])
            if records and keeps:
                of_station.append(b",".join(records))
        for station_id, records in piece.untimed.items():
            whole.untimed.setdefault(station_id, []).extend(records if keeps else ())
        whole.note_all(rejects if keeps else (), piece.timestamp, piece.unusable, exact=piece.exact)
        self._rejects += len(rejects)

    def _too_many(self) -> str | None:
        """Return what is wrong with a message that has too many stations, or too many records that can't be used."""
        if self._rejects > MOST_REJECTS:
            return too_many_rejects(self._whole.rejects[0])
        stations = len(self._whole.stations)
        return too_many_stations(stations, self._most_stations) if stations > self._most_stations else None

    def settle(self) -> Iterator[None]:
        """Settle what becomes of records without a usable time, now that all are known.

        Where all of a station's have none they are its records; beside others they are rejected.

        Yields:
            After some of them: a few milliseconds' work.

        Raises:
            BadMessage: the message has too many stations, or too many records that can't be used.
        """
        if (problem := self._too_many()) is not None:
            raise BadMessage(problem)
        whole = self._whole
        rejects, unusable = whole.rejects, whole.unusable
        load = exact_json.loads_exactly if whole.exact else orjson.loads
        for station_id, records in whole.untimed.items():
            of_station = whole.stations[station_id]
            if not of_station:
                of_station += records
                continue
            for record in records:
                rejects.append(untimed_reject(load(record), station_id, unusable))
                if len(rejects) > MOST_REJECTS:
                    raise BadMessage(too_many_rejects(rejects[0]))
                if len(rejects) % REJECTS_AT_ONCE == 0:
                    yield
        whole.untimed.clear()

    def write(self, written: WrittenStations) -> Iterator[None]:
        """Write the stations of all pieces, partition by partition; for what is yielded see `StationWriter.pack`."""
        stations = self._whole.stations
        by_partition: dict[int, list[str]] = {}
        for station_id in stations:
            by_partition.setdefault(self._partition_of(station_id), []).append(station_id)
        for partition, ids in by_partition.items():
            joined = ((station_id, b",".join(stations.pop(station_id))) for station_id in ids)
            yield from self._writer.pack(written, partition, joined, exact=self._whole.exact)

    def rest(self) -> tuple[SourceBatch, WrittenStations]:
        """Return the message without its stations, and those with their ids alone: `write` adds them."""
        whole = self._whole
        batch = SourceBatch(whole.timestamp, {}, tuple(whole.rejects), whole.exact, whole.unusable)
        return batch, WrittenStations(tuple(whole.stations))


def _joined(partition: int, stations: Sequence[bytes], mark: bytes) -> Body:
    return Body(partition, len(stations), b"%b[%b]" % (mark, b",".join(stations)))
