"""The records of a message: found in its JSON, and divided by station."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from zoneinfo import ZoneInfo

import orjson

from app.inputs.timestamps import TIME_KEYS, record_moment
from tables.context import EVERYONE, Record
from tables.model.fast_dataclass import dataclass

__all__ = [
    "CONTEXT_ID_KEYS",
    "STATION_ID_KEYS",
    "BadMessage",
    "Reject",
    "SourceBatch",
    "divide",
    "find_records",
    "id_key",
    "load_json",
]

STATION_ID_KEYS = ("stationId", "station_id")
"""The keys of a record that may hold its station id; the first usable one counts."""
CONTEXT_ID_KEYS = (*STATION_ID_KEYS, "hostCode", "host_id", "meterId", "meter_id")
"""The same on pass-through and context topics."""

_HUGE = 2**63  # orjson reads an integer of more than 64 bits as a float, which is none of its neighbours any more
_DEEPEST = 246  # levels of lists and objects
_NAMES_SHOWN = 10
_VALUE_SHOWN = 100


class BadMessage(ValueError):  # noqa: N818 - the contract's word
    """A source message that is not JSON, or is none of the four forms; the text says what was wrong."""


@dataclass(frozen=True, slots=True)
class Reject:
    """A record that cannot be used, for the dead-letter topic."""

    record: bytes
    """The record as JSON."""
    error: str
    station_id: str | None = None
    """Where it is known: a record that only lacks a time."""


@dataclass(frozen=True, slots=True)
class SourceBatch:
    """What a message holds. Every one of its records is in `stations` or in `rejects`, exactly once."""

    timestamp: int | None
    """Unix seconds of the latest usable time in the message, rounded down; None when there is none."""
    stations: dict[str, list[Record]]
    """Station id -> its records, at least one, in message order; ids in the order in which the message names them."""
    rejects: tuple[Reject, ...]
    """First the records that have no station id, then those without a time beside others that have one."""


def load_json(value: bytes | None) -> Any:
    """Return the JSON value of a message; raises BadMessage."""
    if value is None:
        message = "not JSON: the message has no value"
        raise BadMessage(message)
    try:
        loaded = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        message = f"not JSON: {error}"
        raise BadMessage(message) from error
    if value.count(b"[") + value.count(b"{") <= _DEEPEST:
        return loaded  # as of most messages
    try:
        # orjson reads 1,024 levels but writes 254. What could not be written again, inside an envelope of up to
        # eight levels, would get as far as the splitter and stop it there. Costs a fifth of reading.
        orjson.dumps([[[[[[[[loaded]]]]]]]])
    except orjson.JSONEncodeError as error:
        message = f"nested too deeply: more than {_DEEPEST} levels of lists and objects ({error})"
        raise BadMessage(message) from error
    return loaded


def find_records(loaded: Any, envelope_keys: Sequence[str], id_keys: Sequence[str]) -> list[Any]:
    """Return the elements of the message's list, which may be anything; raises BadMessage."""
    if isinstance(loaded, list):
        return loaded
    if not isinstance(loaded, dict):
        message = f"none of the four forms: {_kind(loaded)}, not an object or a list"
        raise BadMessage(message)
    for key in envelope_keys:
        if key in loaded:
            records = loaded[key]
            if isinstance(records, list):
                return records
            message = f"none of the four forms: the envelope key {key!r} holds {_kind(records)}, not a list of records"
            raise BadMessage(message)
    # An object that looks like a record is one. Whether its station id is usable is asked where all records are.
    if any(key in loaded for key in (*id_keys, *TIME_KEYS, "gunPower")):
        return [loaded]
    message = (
        f"none of the four forms: an object with the keys {_names(loaded)} has neither an envelope key"
        f" ({_names(dict.fromkeys(envelope_keys))}) nor a station id ({_names(id_keys)})"
    )
    raise BadMessage(message)


def divide(
    records: list[Any],
    timezone: ZoneInfo,
    id_keys: Sequence[str],
    *,
    exact: Callable[[], list[Any]],
    for_everyone: bool = False,
) -> SourceBatch:
    """Divide records by station.

    Args:
        records: The elements of a message's list.
        timezone: The zone of times that name none.
        id_keys: The keys that may hold a record's station id.
        exact: The same elements read by `json`, which keeps integers of any size; asked for when a station id may be
            one. It may raise ValueError or RecursionError.
        for_everyone: A record that has none of these keys belongs to `EVERYONE`; else it is rejected.
    """
    unnamed = _Unnamed(id_keys, exact, for_everyone=for_everyone)
    stations: dict[str, list[Record]] = {}
    untimed: dict[str, int] = {}
    rejects: list[Reject] = []
    latest = -math.inf
    for index, record in enumerate(records):
        station = _station_id(record, id_keys) if type(record) is dict else None
        if station is None:
            station = unnamed.station_of(index, record)
            if station is None:
                rejects.append(Reject(orjson.dumps(record), _why_no_station(record, id_keys)))
                continue
        of_station = stations.get(station)
        if of_station is None:
            stations[station] = [record]
        else:
            of_station.append(record)
        moment = record_moment(record, timezone)
        if moment is None:
            untimed[station] = untimed.get(station, 0) + 1
        elif moment.seconds > latest:
            latest = moment.seconds
    for station, count in untimed.items():
        if count < len(stations[station]):
            stations[station], without = _part_by_time(stations[station], timezone)
            rejects.extend(Reject(orjson.dumps(one), _why_no_time(one, station), station) for one in without)
    return SourceBatch(math.floor(latest) if latest > -math.inf else None, stations, tuple(rejects))


def id_key(record: Record, id_keys: Sequence[str]) -> str | None:
    """Return the key that holds a record's station id."""
    return next((key for key in id_keys if _usable(record.get(key))), None)


def _usable(value: Any) -> bool:
    return (type(value) is str and bool(value) and not value.isspace()) or type(value) is int


def _station_id(record: Record, id_keys: Sequence[str]) -> str | None:
    for key in id_keys:
        value = record.get(key)
        if type(value) is str:
            if value and not value.isspace():
                return value
        elif type(value) is int:
            return str(value)
        elif _is_huge(value):
            return None
    return None


def _is_huge(value: Any) -> bool:
    return type(value) is float and abs(value) >= _HUGE


class _Unnamed:
    """Whose the records are that have no station id at first sight: see `divide`."""

    def __init__(self, id_keys: Sequence[str], exact: Callable[[], list[Any]], *, for_everyone: bool) -> None:
        self._id_keys = id_keys
        self._read = exact
        self._for_everyone = for_everyone
        self._exact: list[Any] | None = None

    def station_of(self, index: int, record: Any) -> str | None:
        if type(record) is not dict:
            return None
        if self._for_everyone and not any(key in record for key in self._id_keys):
            return EVERYONE
        if not any(_is_huge(record.get(key)) for key in self._id_keys):
            return None
        if self._exact is None:
            try:
                self._exact = self._read()
            except (ValueError, RecursionError):
                self._exact = []
        return self._exact_id(record, self._exact[index]) if self._exact else None

    def _exact_id(self, record: Record, exact: Record) -> str | None:
        """Return the station id with all its digits, and put it into the record as text."""
        key = id_key(exact, self._id_keys)
        if key is None:
            return None
        station = str(exact[key])
        record[key] = station
        return station


def _part_by_time(records: list[Record], timezone: ZoneInfo) -> tuple[list[Record], list[Record]]:
    timed: list[Record] = []
    untimed: list[Record] = []
    for record in records:
        (untimed if record_moment(record, timezone) is None else timed).append(record)
    return timed, untimed


def _why_no_station(record: Any, id_keys: Sequence[str]) -> str:
    if not isinstance(record, dict):
        return f"{_kind(record)} is not a record"
    found = _found(record, id_keys)
    return f"no station id: {found}; text or an integer is wanted in one of {_names(id_keys)}"


def _why_no_time(record: Record, station: str) -> str:
    return f"no usable time in a record of station {station}, which has records with one: {_found(record, TIME_KEYS)}"


def _found(record: Record, keys: Sequence[str]) -> str:
    found = ", ".join(f"{key} is {_shown(record[key])}" for key in keys if key in record)
    return found or f"none of {_names(keys)} is there"


def _shown(value: Any) -> str:
    if isinstance(value, list | dict):
        return _kind(value)
    text = orjson.dumps(value).decode()
    return text if len(text) <= _VALUE_SHOWN else text[:_VALUE_SHOWN] + "…"


def _names(names: Iterable[str]) -> str:
    every = [name if len(name) <= _VALUE_SHOWN else name[:_VALUE_SHOWN] + "…" for name in names]
    more = f", … +{len(every) - _NAMES_SHOWN}" if len(every) > _NAMES_SHOWN else ""
    return (", ".join(every[:_NAMES_SHOWN]) or "(none)") + more


def _kind(value: Any) -> str:
    """Name the JSON type of a value, with its article."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, str):
        return "a text"
    if isinstance(value, list):
        return "a list"
    return "an object" if isinstance(value, dict) else "a number"
