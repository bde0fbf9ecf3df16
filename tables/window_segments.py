"""The segments of windows, as bytes: what the changelog of the table `context` holds of `tables.windows`. Pure."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from tables.context import Record
from tables.storage.checks import NUMBER, check_all, check_one
from tables.storage.exact_json import dumps, dumps_marked
from tables.storage.marks import Mark
from tables.storage.packing import Columnar, pack_numbers, unpack, unpack_numbers
from tables.storage.records import FORMAT_VERSION, load, reading

PREFIX: Final = b":"
"""Begins the key of a segment, and of no newest record."""
Owner = tuple[str, str]
"""Whose window it is: topic and station id."""


class Part(NamedTuple):
    """What a segment has of one station, or of everyone.

    Attributes:
        owner: whose it is.
        marks: how far the partitions of the topic that are in it had been taken in.
        key: of the message, where it is everyone's.
        times: of the records, in whole Unix seconds; None: all that stands before is deleted.
        records: without their times, by field where they came so.
    """

    owner: Owner
    marks: Sequence[Mark]
    key: bytes | None
    times: list[int] | None
    records: Columnar | list[Record]


class SegmentWriter:
    """A segment that is being written."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.size = 0  # about, in bytes
        self._groups: list[tuple[str, Sequence[Mark], str | None, list[Any]]] = []

    def __bool__(self) -> bool:
        return bool(self._groups)

    def add(self, owner: Owner, marks: Sequence[Mark], key: bytes | None, times: Sequence[int], packed: object) -> None:
        """Add records of one station, as `tables.storage.packing.pack` gives them, with their times.

        Stations of one message in a row share its marks.
        """
        if len(times) == 1 and type(packed) is list:
            self._add(owner, marks, key, [owner[1], times[0], packed[0]])
        else:
            self._add(owner, marks, key, [owner[1], pack_numbers(times), packed])

    def add_cut(self, owner: Owner, marks: Sequence[Mark]) -> None:
        """Add that all of one station that stands before is deleted."""
        # Of all of them the next message is still to come, so that none has to say so.
        self._add(owner, [mark._replace(seen=True) for mark in marks], None, [owner[1], None, None])

    def _add(self, owner: Owner, marks: Sequence[Mark], key: bytes | None, station: list[Any]) -> None:
        text = None if key is None else base64.b64encode(key).decode()
        self.size += len(dumps(station[2]))
        if self._groups:
            topic, last_marks, last_key, stations = self._groups[-1]
            if topic == owner[0] and last_marks == marks and last_key == text:
                stations.append(station)
                return
        self._groups.append((owner[0], marks, text, [station]))

    def encoded(self) -> bytes:
        """Return the bytes of the segment."""
        groups = [(topic, _places(marks), key, stations) for topic, marks, key, stations in self._groups]
        return dumps_marked({"v": FORMAT_VERSION, "groups": groups}, tuple)


def _places(marks: Sequence[Mark]) -> list[tuple[int, int, float]]:
    """Return marks as they are stored; one whose message is still to come stands twice.

    Versions that do not tell those apart read it as the same place.
    """
    return [mark[:3] for mark in marks for _ in range(1 if mark.seen else 2)]


def segment_key(owner: int, number: int) -> bytes:
    """Return the key of a segment, which no two owners of a partition may give alike."""
    return b"%b%d.%d" % (PREFIX, owner, number)


def owner_in(key: bytes) -> int:
    """Return the owner in a segment's key; raises UnreadableRecordError."""
    with reading(key):
        return int(key[len(PREFIX) :].split(b".")[0])


def decode_segment(key: bytes, value: bytes) -> list[Part]:
    """Read back what a `SegmentWriter` has written.

    Raises:
        UnreadableRecordError: it is not one of ours, or a newer version's.
    """
    with reading(key):
        return [part for group in load(key, value)["groups"] for part in _parts(*group)]


def _parts(topic: Any, places: Any, key: Any, stations: Any) -> list[Part]:
    check_one(topic, str)
    marks = [*map(_mark, places)]
    if len(marks) > 1:
        times = Counter(marks)
        marks = [mark if count == 1 else mark._replace(seen=False) for mark, count in times.items()]
    message_key = None if key is None else base64.b64decode(key)
    return [_part((topic, station[0]), marks, message_key, *_records(*station)) for station in stations]


def _part(
    owner: Owner, marks: list[Mark], key: bytes | None, times: list[int] | None, records: Columnar | list[Record]
) -> Part:
    if times is None:
        marks = [mark._replace(seen=False) for mark in marks]
    return Part(owner, marks, key, times, records)


def _mark(place: Any) -> Mark:
    partition, offset, timestamp = place
    check_all([partition, offset], int)
    check_one(timestamp, *NUMBER)
    return Mark(partition, offset, timestamp)


def _records(station_id: Any, times: Any, records: Any) -> tuple[list[int] | None, Columnar | list[Record]]:
    if type(times) is int and type(records) is dict and type(station_id) is str:  # most, by far
        return [times], [records]
    check_one(station_id, str)
    if times is None:
        return None, []
    unpacked = unpack_numbers(times)
    return unpacked, unpack(records, len(unpacked))
