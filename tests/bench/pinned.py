"""Reading, aligning and encoding as the application did at commit cfbf23b, so that the yardstick stays as it was.

From that commit's `dividing`, `realtime`, `times`, `module_input`, `guns`, `fill` and `results`: what messages without
a fault go through, statement by statement, with the settings' defaults (gaps are zero, no window is completed). What
only errors, other settings and numbers of more than 64 bits need is left out: a message with a fault is a ValueError.

Nothing here may import `app`, or become faster; tests/unit/bench/test_pinned.py compares what comes out with the
application's.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import orjson

Record = dict[str, Any]
Columns = dict[str, list[Any]]

TIMEZONE = ZoneInfo("Asia/Shanghai")
ENVELOPE_KEY = "realTimeData"
ID_KEYS = ("stationId", "station_id")
TIME_KEYS = ("sendTime", "send_time", "timestamp")
NO_SCALARS = frozenset({*ID_KEYS, *TIME_KEYS, "gunPower"})
RESERVED = frozenset({"sendTime", "gunNo", "hostCode"})
POWER = "outputPower"
NUMBERS = frozenset({int, float})
NUMBERS_AND_GAPS = NUMBERS | {type(None)}
CODES = frozenset({str, int})
DEEPEST = 246
MAX_BYTES = 16 * 1024 * 1024

_EARLIEST = -62_135_596_800 + 86_400
_LATEST = 253_402_300_799 - 86_400
_CACHED = 8192
_PLAIN = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}):([0-5][0-9]):([0-5][0-9])")
_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS


class Moment(NamedTuple):
    """A time of a record: Unix seconds, and its text in `TIMEZONE`."""

    seconds: float
    text: str


@dataclass(frozen=True, slots=True)
class Batch:
    """A source message: the batch id, and each station's records in message order."""

    batch_id: str
    stations: dict[str, list[Record]]


@dataclass(slots=True)
class Outcome:
    """A result as JSON text."""

    code: str
    value: str | None


EMPTY = Outcome("empty", None)


def parse(topic: str, value: bytes) -> Batch:
    """Divide a source message by station; raises ValueError."""
    loaded = orjson.loads(value)
    if value.count(b"[") + value.count(b"{") > DEEPEST:
        orjson.dumps([[[[[[[[loaded]]]]]]]])
    stations: dict[str, list[Record]] = {}
    latest = -math.inf
    for record in _find_records(loaded, (topic, ENVELOPE_KEY)):
        station = _station_id(record) if type(record) is dict else None
        if station is None:
            message = f"a record without a station id: {record!r}"
            raise ValueError(message)
        of_station = stations.get(station)
        if of_station is None:
            stations[station] = [record]
        else:
            of_station.append(record)
        moment = _record_moment(record)
        if moment is None:
            message = f"a record of station {station} without a time"
            raise ValueError(message)
        latest = max(latest, moment.seconds)
    return Batch(f"{topic}_{math.floor(latest)}", stations)


def _find_records(loaded: Any, envelope_keys: Sequence[str]) -> list[Any]:
    if isinstance(loaded, list):
        return loaded
    for key in envelope_keys:
        if key in loaded:
            records: list[Any] = loaded[key]
            return records
    return [loaded]


def _station_id(record: Record) -> str | None:
    for key in ID_KEYS:
        value = record.get(key)
        if type(value) is str:
            if value and not value.isspace():
                return value
        elif type(value) is int:
            return str(value)
    return None


def _record_moment(record: Mapping[str, Any]) -> Moment | None:
    for key in TIME_KEYS:
        value = record.get(key)
        if value is not None:
            moment = _read_moment(value)
            if moment is not None:
                return moment
    return None


def _read_moment(value: object) -> Moment | None:
    if type(value) is str:
        return _moment_of_text(value, TIMEZONE) if len(value) <= 64 else None
    return None


@lru_cache(_CACHED)
def _moment_of_text(text: str, timezone: ZoneInfo) -> Moment | None:
    text = text.strip()
    plain = _PLAIN.fullmatch(text)
    if plain:
        hour, minute, second = plain.groups()
        begin = _begin_of_hour(hour, timezone)
        if begin is not None:
            return Moment(begin + 60 * int(minute) + int(second), text)
    return None


@lru_cache(_CACHED)
def _begin_of_hour(text: str, timezone: ZoneInfo) -> float | None:
    try:
        begin = datetime.fromisoformat(f"{text}:00:00").replace(tzinfo=timezone)
        ends = (begin, begin + timedelta(minutes=59, seconds=59))
        seconds = [end.replace(fold=fold).timestamp() for end in ends for fold in (0, 1)]
    except (ValueError, OverflowError):
        return None
    regular = seconds[0] == seconds[1] and seconds[2] == seconds[3] == seconds[0] + 3599
    return seconds[0] if regular and seconds[0] >= _EARLIEST and seconds[3] <= _LATEST else None


def align(records: Sequence[Record]) -> Columns:
    """Turn one station's records into columns; raises ValueError."""
    if len(records) == 1:
        columns = _align_one(records[0])
        if columns is not None:
            return columns
    return _align_many(records)


def _align_one(record: Record) -> Columns | None:
    moment = _record_moment(record)
    columns: Columns = {"sendTime": [None if moment is None else moment.text]}
    gun_power = record.get("gunPower")
    if gun_power is not None:
        guns = _one_gun_row(record, gun_power)
        if guns is None:
            return None
        columns.update(guns)
    for name, value in record.items():
        if name in NO_SCALARS or (name == "hostCode" and gun_power is not None):
            continue
        if name in columns:
            return None
        kind = type(value)
        if kind is float or kind is int:
            columns[name] = [value]
        elif value is None:
            columns[name] = [0.0]
        elif name.startswith(POWER):
            return None
        else:
            columns[name] = [value]
    return columns


def _one_gun_row(record: Record, gun_power: Any) -> Columns | None:
    if type(gun_power) is not dict:
        return None
    gun_nos = gun_power.get("gunNo")
    host = record.get("hostCode")
    if type(gun_nos) is not list or not {str}.issuperset(map(type, gun_nos)) or type(host) not in {str, type(None)}:
        return None
    count = len(gun_nos)
    if len(set(gun_nos)) != count:
        return None
    columns: Columns = {"gunNo": gun_nos.copy(), "hostCode": [host] * count}
    for name, cells in gun_power.items():
        if name in RESERVED:
            if name == "gunNo":
                continue
            return None
        if type(cells) is not list or len(cells) != count or not NUMBERS.issuperset(map(type, cells)):
            return None
        columns[name] = [cells.copy()]
    return columns


def _align_many(records: Sequence[Record]) -> Columns:
    moments = [_record_moment(record) for record in records]
    timed = [moment for moment in moments if moment is not None]
    points = sorted({moment.text for moment in timed})
    row_of = {text: row for row, text in enumerate(points)}
    rows = [row_of[moment.text] for moment in timed]
    columns: Columns = {"sendTime": [*points]}
    guns = _gun_columns(records, rows, len(points))
    columns.update(guns)
    names: Record = {}
    for record in records:
        names.update(record)
    for name in names:
        if name in NO_SCALARS or (guns and name == "hostCode"):
            continue
        given = [record.get(name) for record in records]
        if name.startswith(POWER) and not NUMBERS_AND_GAPS.issuperset(map(type, given)):
            message = f"{name} is not a number"
            raise ValueError(message)
        values: list[Any] = [None] * len(points)
        for row, value in zip(rows, given, strict=True):
            if value is not None:
                values[row] = value
        columns[name] = _fill_series(values)
    return columns


def _gun_columns(records: Sequence[Record], rows: Sequence[int], points: int) -> Columns:
    table = _GunTable()
    for record, row in zip(records, rows, strict=True):
        if record.get("gunPower") is not None:
            table.read(record, row)
    if not table.found:
        return {}
    columns: Columns = {
        "gunNo": [gun_no for _, gun_no in table.guns],
        "hostCode": [host for host, _ in table.guns],
    }
    for name in table.cells:
        columns[name] = table.matrix(name, points)
    return columns


@dataclass(slots=True)
class _GunTable:
    found: bool = False
    guns: dict[tuple[str | None, str], int] = field(default_factory=dict)
    cells: dict[str, list[tuple[int, list[int], list[Any]]]] = field(default_factory=dict)
    layouts: dict[tuple[Any, ...], list[int]] = field(default_factory=dict)

    def read(self, record: Record, row: int) -> None:
        gun_power = record["gunPower"]
        self.found = True
        if type(gun_power) is not dict:
            message = "gunPower is not an object"
            raise ValueError(message)
        slots = self._slots(record.get("hostCode"), gun_power.get("gunNo"))
        for name, values in gun_power.items():
            if name == "gunNo":
                continue
            entries = self.cells.setdefault(name, [])
            if values is not None:
                _check_cells(name, values, len(slots))
                entries.append((row, slots, values))

    def _slots(self, host: Any, gun_nos: Any) -> list[int]:
        if gun_nos is None:
            gun_nos = []
        if type(gun_nos) is not list or not CODES.issuperset(map(type, gun_nos)):
            message = "gunNo is not a list of text"
            raise ValueError(message)
        layout = (host, *gun_nos)
        slots = self.layouts.get(layout)
        if slots is None:
            code = None if host is None else str(host)
            slots = [self.guns.setdefault((code, str(gun_no)), len(self.guns)) for gun_no in gun_nos]
            self.layouts[layout] = slots
        return slots

    def matrix(self, name: str, points: int) -> list[list[Any]]:
        rows: list[list[Any] | None] = [None] * points
        straight = len(self.layouts) == 1 and all(len(slots) == len(self.guns) for slots in self.layouts.values())
        for row, slots, values in self.cells[name]:
            merged = rows[row]
            if merged is None and straight:
                rows[row] = values.copy()
                continue
            if merged is None:
                merged = rows[row] = [None] * len(self.guns)
            for slot, value in zip(slots, values, strict=True):
                if value is not None:
                    merged[slot] = value
        return _fill_matrix([[None] * len(self.guns) if row is None else row for row in rows])


def _check_cells(name: str, values: Any, guns: int) -> None:
    if (
        type(values) is not list
        or len(values) != guns
        or (name.startswith(POWER) and not NUMBERS_AND_GAPS.issuperset(map(type, values)))
    ):
        message = f"gunPower.{name} is not a list of {guns} numbers"
        raise ValueError(message)


def _fill_matrix(rows: list[list[Any]]) -> list[list[Any]]:
    kinds: set[type] = set()
    for row in rows:
        kinds.update(map(type, row))
    if type(None) not in kinds or not kinds <= NUMBERS_AND_GAPS:
        return rows
    filled = [_fill_series(list(series)) for series in zip(*rows, strict=True)]
    return [list(row) for row in zip(*filled, strict=True)]


def _fill_series(values: list[Any]) -> list[Any]:
    kinds = set(map(type, values))
    if type(None) not in kinds:
        return values
    kinds.discard(type(None))
    if not kinds:
        return [0.0] * len(values)
    return [0.0 if value is None else value for value in values] if kinds <= NUMBERS else values


def encode_result(station_id: str, value: object) -> Outcome:
    """Return what a callback has returned as JSON text, with the station's id as its first key."""
    if value is None:
        return EMPTY
    data = orjson.dumps(_named(station_id, value), _default, _OPTIONS)
    if len(data) <= MAX_BYTES:
        return Outcome("result", data.decode())
    message = f"the result of station {station_id} is too large"
    raise ValueError(message)


def _named(station_id: str, value: object) -> object:
    if isinstance(value, dict):
        named = {"station_id": station_id}
        named.update(value)
        named["station_id"] = station_id
        return named
    return {"station_id": station_id, "result": value}


def _default(value: Any) -> object:
    return value.tolist()
