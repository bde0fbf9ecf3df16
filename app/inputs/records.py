"""Records of a large message, read one by one, and left as the bytes that they are.

This is the fast way from a large message to its stations. A record is parsed for its station and its time alone, and
let go of before the next one: by the thousand they push each other out of the processor's cache, and to write them
again takes half as long as to read them. What goes on is what stands in the message.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

import orjson

from app.inputs.grouping import BadMessage, Limits, Reject, SourceBatch, UnusableTimes, divide, dumps_shallow
from app.inputs.timestamps import TIME_KEYS, read_moment, record_moment
from tables.context import Record
from tables.storage import exact_json
from tables.storage.exact_json import Longest

LEVELS_AROUND = 9  # that must have room around a list of records: an envelope of eight, and an object
_SHALLOW = 244  # levels of a record that surely has room in these
_END = b"\0"  # never stands in JSON


@dataclass(slots=True)
class Piece:
    """Records of a message, as JSON without the brackets of a list.

    Attributes:
        stations: Station id -> records with a usable time, in the order of the message; none where there are none.
        untimed: Station id -> the others, one by one. What becomes of them depends on the rest of the message.
        rejects: Those that can't be used whatever the rest of the message has.
        timestamp: Unix seconds of the latest usable time, rounded down; None when there is none.
        unreadable: Of its times that are not usable, the first that can't be read, as JSON, cut; like the next.
        ahead: Station id -> the first of its times that is too late.
        exact: See `app.inputs.grouping.SourceBatch`.
    """

    stations: dict[str, list[bytes]] = field(default_factory=dict)
    untimed: dict[str, list[bytes]] = field(default_factory=dict)
    rejects: list[Reject] = field(default_factory=list)
    timestamp: int | None = None
    unreadable: str | None = None
    ahead: dict[str, str] = field(default_factory=dict)
    exact: bool = False

    def take(self, batch: SourceBatch, record: bytes) -> None:
        """Take what `divide` has made of a single record."""
        self.note(batch)
        for station_id in batch.stations:
            of_station = self.stations.setdefault(station_id, [])
            (self.untimed.setdefault(station_id, []) if batch.untimed else of_station).append(record)

    def note(self, batch: SourceBatch) -> None:
        """Take all but the stations."""
        self.note_all(batch.rejects, batch.timestamp, batch.unusable, exact=batch.exact)

    def note_all(
        self, rejects: Iterable[Reject], timestamp: int | None, unusable: UnusableTimes, *, exact: bool
    ) -> None:
        """Take what came behind all that is here."""
        self.rejects += rejects
        self.note_time(timestamp)
        self.unreadable = self.unreadable or unusable.unreadable
        for station_id, time in unusable.ahead.items():
            self.ahead.setdefault(station_id, time)
        self.exact |= exact

    def note_time(self, timestamp: int | None) -> None:
        """Keep the latest time."""
        self.timestamp = max([time for time in (self.timestamp, timestamp) if time is not None], default=None)

    @property
    def unusable(self) -> UnusableTimes:
        """The times that are there and not usable."""
        return UnusableTimes(self.unreadable, self.ahead)


class RecordReader:
    """Reads the records of one message, piece by piece."""

    def __init__(
        self,
        timezone: ZoneInfo,
        id_keys: Sequence[str],
        latest: float,
        limits: Limits,
        *,
        first: bytes,
        between: bytes,
    ) -> None:
        """A reader that has read nothing.

        Args:
            timezone: As for `app.inputs.grouping.divide`, like the next three.
            id_keys: The keys that may hold a record's station id.
            latest: The latest usable time, Unix seconds.
            limits: What the message may have; how many stations is not looked at.
            first: The start of a record.
            between: What stands between two: a brace, a comma and blanks.
        """
        self._timezone = timezone
        self._id_keys = id_keys
        self._latest = latest
        self._limits = Limits(id_length=limits.id_length)  # stations are counted over the whole message
        self._between, self._apart = between + first, b"}" + _END + first
        self._usable: set[str] = set()  # times, as they come, that need no more looking at

    def read(self, records: bytes, *, in_object: bool) -> Piece | None:
        """Read what stands between two cuts; None where that is no list of records.

        `in_object`: the message's list stands in an object, a level deeper.

        Raises:
            TooDeepError: A record may be nested too deeply.
        """
        return self._one_by_one(records) or self._together(records, in_object=in_object)

    def _one_by_one(self, records: bytes) -> Piece | None:
        """Read records by themselves; None where they are not as expected, which says nothing of what they are."""
        if _END in records or exact_json.longest_number(records) is not Longest.SHORT:
            return None
        parts = records.replace(self._between, self._apart).split(_END)
        if max(map(len, parts)) > 2 * _SHALLOW and any(map(_may_be_deep, parts)):
            return None
        piece = Piece()
        try:
            self._divide(piece, parts)
        except ValueError:
            return None
        return piece

    def _divide(self, piece: Piece, parts: Sequence[bytes]) -> None:
        """Put records where they belong; raises ValueError if one of them can't be read."""
        usable, stations = self._usable, piece.stations
        id_field, time_field = self._id_keys[0], TIME_KEYS[0]
        for part, record in zip(parts, map(orjson.loads, parts), strict=True):
            if type(record) is dict:
                station_id, time = record.get(id_field), record.get(time_field)
                if type(station_id) is str and type(time) is str and time in usable:
                    of_station = stations.get(station_id)
                    if of_station is not None:
                        of_station.append(part)
                        continue
                if (ordinary := self._ordinary(piece, record)) is not None:
                    stations.setdefault(ordinary, []).append(part)
                    continue
            piece.take(self._divided(part), part)

    def _ordinary(self, piece: Piece, record: Record) -> str | None:
        """Return the station of a record with a text as its id, and a usable time, which is noted; None for others."""
        station_id, time = record.get(self._id_keys[0]), record.get(TIME_KEYS[0])
        if type(station_id) is not str or not station_id or station_id.isspace():
            return None
        if len(station_id) > self._limits.id_length:
            return None
        moment = record_moment(record, self._timezone)
        if moment is None or moment.seconds > self._latest:
            return None
        piece.note_time(math.floor(moment.seconds))
        # Where a text can't be used, the time is from another field.
        if type(time) is str and moment == read_moment(time, self._timezone):
            self._usable.add(time)
        return station_id

    def _divided(self, record: bytes) -> SourceBatch:
        return divide(
            *(b"[%b]" % record, list, self._timezone, self._id_keys), latest=self._latest, limits=self._limits
        )

    def _together(self, records: bytes, *, in_object: bool) -> Piece | None:
        """Read records as a list, as deep as in their message, and write them again."""
        data, find = (b"[[%b]]" % records, _only) if in_object else (b"[%b]" % records, list)
        piece = Piece()
        try:
            batch = divide(
                *(data, find, self._timezone, self._id_keys),
                latest=self._latest,
                limits=self._limits,
                check_depth=False,
            )
            if batch.untimed:  # what else their stations have decides what becomes of them
                for record in find(exact_json.loads_exactly(data) if batch.exact else orjson.loads(data)):
                    part = _json([record], unchecked=batch.unchecked)
                    piece.take(self._divided(part), part)
                return piece
        except BadMessage:
            return None
        for station_id, of_station in batch.stations.items():
            piece.stations[station_id] = [_json(of_station, unchecked=batch.unchecked)]
        piece.note(batch)
        return piece if batch.stations or batch.rejects else None


def _may_be_deep(record: bytes) -> bool:
    return record.count(b"[") + record.count(b"{") > _SHALLOW


def _json(records: Sequence[Any], *, unchecked: bool = False) -> bytes:
    return (dumps_shallow(records, LEVELS_AROUND) if unchecked else exact_json.dumps(records))[1:-1]


def _only(loaded: list[Any]) -> list[Any]:
    """Return the one list of a list; the list that stands in an object may end early, and be followed by others."""
    if len(loaded) != 1 or type(loaded[0]) is not list:
        message = "more than a list of records"
        raise BadMessage(message)
    records: list[Any] = loaded[0]
    return records
