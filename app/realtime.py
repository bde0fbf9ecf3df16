"""Reading a source message: bytes -> the stations it names with their records, and what has to be rejected."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

import orjson

from app.times import TIME_KEYS, parse_time, record_moment

__all__ = [
    "CONTEXT_ID_KEYS",
    "STATION_ID_KEYS",
    "BadMessage",
    "Overrides",
    "Record",
    "Reject",
    "SourceBatch",
    "batch_id",
    "parse_message",
    "parse_time",
    "read_overrides",
]

Record = dict[str, Any]
"""One JSON object."""

STATION_ID_KEYS = ("stationId", "station_id")
"""The keys of a record that may hold its station id; the first usable one counts."""
CONTEXT_ID_KEYS = (*STATION_ID_KEYS, "hostCode", "host_id", "meterId", "meter_id")
"""The same on pass-through and context topics."""

_ENVELOPE_KEY = "realTimeData"  # What the plants send today.
_BATCH_ID = re.compile(r"[A-Za-z0-9._:-]{1,200}")
_SECONDS = re.compile(r"\s*\+?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\s*")  # float() takes far more: 1_0, nan.
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
    """What a source message holds. Every one of its records is in `stations` or in `rejects`, exactly once."""

    timestamp: int | None
    """Unix seconds of the latest usable time in the message, rounded down; None when there is none."""
    stations: dict[str, list[Record]]
    """Station id -> its records, at least one, in message order; ids in the order in which the message names them."""
    rejects: tuple[Reject, ...]
    """First the records that have no station id, then those without a time beside others that have one."""


@dataclass(frozen=True, slots=True)
class Overrides:
    """What the Kafka headers of a source message ask for."""

    timeout: float | None
    """Seconds from `batch-timeout`, capped; None: the default."""
    batch_id: str | None
    """From `batch-id`; None: made of the topic and the latest time."""
    replayed: bool
    """The message is a replayed dead letter and must not open a batch."""
    problems: tuple[str, ...]
    """One text for each invalid header, naming it and its value, for the log."""


def batch_id(topic: str, timestamp: int) -> str:
    """Name the batch that a message from `topic`, whose latest time is `timestamp` (Unix seconds), belongs to."""
    return f"{topic}_{timestamp}"


def parse_message(
    value: bytes | None,
    *,
    topic: str,
    envelope_keys: Sequence[str],
    timezone: ZoneInfo,
    id_keys: Sequence[str] = STATION_ID_KEYS,
) -> SourceBatch:
    """Divide a source message by station.

    Args:
        value: The message: JSON, an object with the list of records under an envelope key, the list itself, or one
            record.
        topic: The topic it came on, which is the first envelope key tried; `realTimeData` is the second.
        envelope_keys: The envelope keys tried after these.
        timezone: The zone of times that name none.
        id_keys: The keys that may hold a record's station id.

    Returns:
        The stations with their records; no stations and no rejects for an empty list.

    Raises:
        BadMessage: Not JSON, none of the four forms, or nested too deeply. Nothing else is raised, whatever the bytes.
    """
    return _divide(_find_records(_load(value), (topic, _ENVELOPE_KEY, *envelope_keys), id_keys), timezone, id_keys)


def read_overrides(headers: Iterable[tuple[str, bytes | None]], *, max_age: float) -> Overrides:
    """Read the headers `batch-timeout`, `batch-id` and `replayed` of a source message.

    An invalid value becomes a problem and the default is used. Of a header that is there twice the last one counts,
    as in Kafka. `replayed` is a flag: it counts when it is there, except with the value `false` or `0`.

    Args:
        headers: The message's headers.
        max_age: Seconds that a timeout is capped at (`AGG_MAX_BATCH_AGE`).
    """
    last = dict(headers)
    problems: list[str] = []
    timeout: float | None = None
    if "batch-timeout" in last:
        text = _text(last["batch-timeout"])
        timeout = float(text) if _SECONDS.fullmatch(text) else math.nan
        if not 0 < timeout < math.inf:
            timeout = None
            problems.append(_problem("batch-timeout", last, "a finite number of seconds above 0"))
        else:
            timeout = min(timeout, max_age)
    name: str | None = None
    if "batch-id" in last:
        name = _text(last["batch-id"])
        if not _BATCH_ID.fullmatch(name):
            name = None
            problems.append(_problem("batch-id", last, "1 to 200 characters of A-Z a-z 0-9 . _ : -"))
    replayed = "replayed" in last and _text(last["replayed"]).strip().lower() not in {"false", "0"}
    return Overrides(timeout, name, replayed, tuple(problems))


def _text(value: bytes | None) -> str:
    return "" if value is None else value.decode("utf-8", "replace")


def _problem(header: str, headers: dict[str, bytes | None], wanted: str) -> str:
    value = headers[header]
    found = "no value" if value is None else repr(value[:_VALUE_SHOWN])[1:] + ("…" if len(value) > _VALUE_SHOWN else "")
    return f"header {header}: {found} is not {wanted}"


def _load(value: bytes | None) -> Any:
    """Return the JSON value of a message; raises BadMessage."""
    if value is None:
        msg = "not JSON: the message has no value"
        raise BadMessage(msg)
    try:
        loaded = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        msg = f"not JSON: {error}"
        raise BadMessage(msg) from error
    try:
        # orjson reads 1,024 levels but writes 254. What could not be written again, inside an envelope of up to
        # eight levels, would get as far as the splitter and stop it there. Costs a fifth of reading.
        orjson.dumps([[[[[[[[loaded]]]]]]]])
    except orjson.JSONEncodeError as error:
        msg = f"nested too deeply: more than 246 levels of lists and objects ({error})"
        raise BadMessage(msg) from error
    return loaded


def _find_records(loaded: Any, envelope_keys: Sequence[str], id_keys: Sequence[str]) -> list[Any]:
    """Return the elements of the message's list, which may be anything; raises BadMessage."""
    if isinstance(loaded, list):
        return loaded
    if not isinstance(loaded, dict):
        msg = f"none of the four forms: {_kind(loaded)}, not an object or a list"
        raise BadMessage(msg)
    for key in envelope_keys:
        if key in loaded:
            records = loaded[key]
            if isinstance(records, list):
                return records
            msg = f"none of the four forms: the envelope key {key!r} holds {_kind(records)}, not a list of records"
            raise BadMessage(msg)
    # An object that looks like a record is one. Whether its station id is usable is asked where all records are.
    if any(key in loaded for key in (*id_keys, *TIME_KEYS, "gunPower")):
        return [loaded]
    msg = (
        f"none of the four forms: an object with the keys {_names(loaded)} has neither an envelope key"
        f" ({_names(dict.fromkeys(envelope_keys))}) nor a station id ({_names(id_keys)})"
    )
    raise BadMessage(msg)


def _divide(records: list[Any], timezone: ZoneInfo, id_keys: Sequence[str]) -> SourceBatch:
    stations: dict[str, list[Record]] = {}
    untimed: dict[str, int] = {}
    rejects: list[Reject] = []
    latest = -math.inf
    for record in records:
        station = _station_id(record, id_keys) if type(record) is dict else None
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


def _station_id(record: Record, id_keys: Sequence[str]) -> str | None:
    for key in id_keys:
        value = record.get(key)
        if type(value) is str:
            if value and not value.isspace():
                return value
        elif type(value) is int:
            return str(value)
    return None


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
