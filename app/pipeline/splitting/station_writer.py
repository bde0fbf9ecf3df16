"""The stations of a source message, written for frames as soon as they have been read.

What waits to be sent is bytes: parsed records that wait push each other out of the processor's cache. By the thousand
they cost more than twice as much as those of one message.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import NamedTuple

import orjson

from app.inputs.grouping import SourceBatch
from app.messages.frames import FRAME_BYTES, FRAME_EVENTS, encode_body
from app.messages.partitioner import Partitioner
from app.pipeline.splitting.limits import oversize
from app.settings.types import LARGEST_RECORD
from tables.context import Record
from tables.model.fast_dataclass import fast_dataclass
from tables.storage import exact_json

STATION_BYTES = LARGEST_RECORD  # of one station in one source message
_AIM_BYTES = FRAME_BYTES * 3 // 4  # of a body, by the mean size of a station: few are then larger than a frame

# With a body's own three levels these stand for an envelope of eight around a list of records in an object.
_DEEPER, _DEEP = b"[" * 7, b"]" * 7


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
                data = _deep(part) if batch.unchecked else encode_body(part)
                if len(data) <= self._surely_small and (len(data) <= FRAME_BYTES or len(part) == 1):
                    written.bodies.append(Body(partition, len(part), data))
                else:
                    self._write_singly(written, partition, part, exact=batch.exact)
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

    def _write_singly(
        self, written: WrittenStations, partition: int, stations: Sequence[tuple[str, list[Record]]], *, exact: bool
    ) -> None:
        """Write each station by itself, as the bounds ask for smaller bodies, or limits may be exceeded."""
        mark = exact_json.MARK if exact else b""
        parts: list[bytes] = []
        size = 2

        def end() -> None:
            written.bodies.append(Body(partition, len(parts), b"%b[%b]" % (mark, b",".join(parts))))

        for station_id, records in stations:
            data = exact_json.dumps((station_id, records))
            error = self._too_large(station_id, records, len(data))
            if error is not None:
                written.refused.append(Refused(station_id, data, error))
                continue
            if parts and size + len(data) > FRAME_BYTES:
                end()
                parts, size = [], 2
            parts.append(data)
            size += len(data) + 1
        if parts:
            end()

    def _too_large(self, station_id: str, records: Sequence[Record], size: int) -> str | None:
        """Return what is wrong with a station's records if they, or one of them, are too large."""
        if size <= STATION_BYTES:
            return oversize(f"station {station_id}", records, size, self._max_record_bytes)
        return (
            f"ValueError: the records of station {station_id} are {size} bytes of JSON, more than the "
            f"{STATION_BYTES} that a station may have in one message"
        )


def _deep(stations: Sequence[tuple[str, list[Record]]]) -> bytes:
    """Return the body of stations, and see to it that an envelope of eight levels around their message has room."""
    try:
        data = orjson.dumps([[[[[[[stations]]]]]]])
    except orjson.JSONEncodeError as error:
        raise TooDeepError from error
    return data[len(_DEEPER) : -len(_DEEP)]
