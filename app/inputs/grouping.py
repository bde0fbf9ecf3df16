"""The records of a message: read from its JSON, and divided by station."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from types import NoneType
from typing import Any
from zoneinfo import ZoneInfo

import orjson

from app.inputs.timestamps import TIME_KEYS, record_moment
from tables.context import EVERYONE, Record
from tables.model.fast_dataclass import fast_dataclass

STATION_ID_KEYS = ("stationId", "station_id")
"""The keys of a record that may hold its station id; the first usable one counts."""
CONTEXT_ID_KEYS = (*STATION_ID_KEYS, "hostCode", "host_id", "meterId", "meter_id")
"""The keys that may hold it on pass-through and context topics."""

MOST_REJECTS = 10_000
"""The most records of a message that become letters one by one; beyond, the message becomes one, whole."""

_HUGE = 2**63  # orjson reads an integer of more than 64 bits as a float, and so loses its last digits
_DEEPEST = 246  # levels of lists and objects
_NAMES_SHOWN = 10
_VALUE_SHOWN = 100
_KINDS = {NoneType: "null", bool: "a boolean", str: "a text", list: "a list", dict: "an object"}


class BadMessage(ValueError):  # noqa: N818 - the contract's word
    """A source message that is not JSON, or is none of the four forms; the text says what was wrong."""


@fast_dataclass(frozen=True, slots=True)
class Reject:
    """A record that cannot be used, and becomes a dead letter."""

    record: bytes
    """The record as JSON."""
    error: str
    station_id: str | None = None
    """Known where the record only lacks a time."""


@fast_dataclass(frozen=True, slots=True)
class SourceBatch:
    """The records of a message, each exactly once, in `stations` or in `rejects`."""

    timestamp: int | None
    """Unix seconds of the latest usable time in the message, rounded down; None when there is none."""
    stations: dict[str, list[Record]]
    """Station id -> its records, at least one, in message order; ids in the order in which the message names them."""
    rejects: tuple[Reject, ...]
    """First the records that have no station id, then those without a time beside others that have one."""


class _Rejects(list[Reject]):
    """The rejects of a message; raises BadMessage when they are too many to be letters of their own.

    Two bytes can be a reject, of which a letter makes a thousand: one message could fill memory, at each start again.
    """

    def append(self, reject: Reject) -> None:
        if len(self) == MOST_REJECTS:
            message = f"more than {MOST_REJECTS} of its records can't be used, the first one because: {self[0].error}"
            raise BadMessage(message)
        super().append(reject)

    def extend(self, rejects: Iterable[Reject]) -> None:
        for reject in rejects:
            self.append(reject)


def find_records(loaded: Any, envelope_keys: Sequence[str], id_keys: Sequence[str]) -> list[Any]:
    """Return the elements of a message's list, which may be anything; raises BadMessage."""
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
    # An object that looks like a record is one. `divide` finds out whether its station id is usable.
    if any(key in loaded for key in (*id_keys, *TIME_KEYS, "gunPower")):
        return [loaded]
    message = (
        f"none of the four forms: an object with the keys {_names(loaded)} has neither an envelope key"
        f" ({_names(dict.fromkeys(envelope_keys))}) nor a station id ({_names(id_keys)})"
    )
    raise BadMessage(message)


def divide(
    value: bytes | None,
    find: Callable[[Any], list[Any]],
    timezone: ZoneInfo,
    id_keys: Sequence[str],
    *,
    for_everyone: bool = False,
) -> SourceBatch:
    """Divide the records of a message by station.

    Args:
        value: The message.
        find: Returns the elements of the message's list, given its JSON value.
        timezone: The zone of times that name none.
        id_keys: The keys that may hold a record's station id.
        for_everyone: A record that has none of these keys belongs to `EVERYONE`; else it is rejected.

    Raises:
        BadMessage: Not JSON, nested too deeply, raised by `find`, or more than `MOST_REJECTS` rejects.
    """
    records = find(_load(value))
    unnamed = _Unnamed(value, find, id_keys, for_everyone)
    stations: dict[str, list[Record]] = {}
    untimed: dict[str, int] = {}
    rejects = _Rejects()
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
            without = [record for record in stations[station] if record_moment(record, timezone) is None]
            stations[station] = [record for record in stations[station] if record_moment(record, timezone) is not None]
            rejects.extend(Reject(orjson.dumps(record), _why_no_time(record, station), station) for record in without)
    return SourceBatch(math.floor(latest) if latest > -math.inf else None, stations, tuple(rejects))


def _load(value: bytes | None) -> Any:
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


@fast_dataclass(frozen=True)
class _Unnamed:
    """The records of a message that have no station id at first sight; the fields are the arguments of `divide`."""

    value: bytes | None
    find: Callable[[Any], list[Any]]
    id_keys: Sequence[str]
    for_everyone: bool

    def station_of(self, index: int, record: Any) -> str | None:
        """Return the station id of a record, None where it has none."""
        if type(record) is not dict:
            return None
        if self.for_everyone and not any(key in record for key in self.id_keys):
            return EVERYONE
        if not any(_is_huge(record.get(key)) for key in self.id_keys) or not self._exact:
            return None
        exact = self._exact[index]
        key = id_key(exact, self.id_keys)
        if key is None:
            return None
        record[key] = station_id = str(exact[key])  # as text, which keeps all its digits
        return station_id

    @cached_property
    def _exact(self) -> list[Any]:
        """The records as `json` reads them, which keeps all digits of an integer; none where it cannot read them."""
        try:
            return self.find(json.loads(self.value or b""))
        except (ValueError, RecursionError):
            return []


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
    return _KINDS.get(type(value), "a number")
