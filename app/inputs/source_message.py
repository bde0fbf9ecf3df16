"""Source messages and context messages: bytes -> stations with their records, and rejects; header overrides."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

from app.inputs.grouping import (
    CONTEXT_ID_KEYS,
    NO_UNUSABLE_TIMES,
    STATION_ID_KEYS,
    UNLIMITED,
    Limits,
    Reject,
    SourceBatch,
    UnusableTimes,
    divide,
    find_records,
    id_key,
)
from app.inputs.timestamps import record_moment
from app.words import Words, words
from tables.context import Record
from tables.model.fast_dataclass import fast_dataclass

_ENVELOPE_KEY = "realTimeData"  # what the plants send today
_OUTPUT_KEY = "stations"  # where a module's output has its results
_BATCH_ID = re.compile(r"[A-Za-z0-9._:-]{1,200}")
# A batch id that is made of a topic's name, of 249 characters at most, and a time.
_OLD_BATCH_ID = re.compile(r"[A-Za-z0-9._:-]{1,261}")
# Of what float() takes, what people write: not 1_0, not nan. Which spaces it takes depends on the version of Python.
# No character can be taken in two ways, or a long header would take a time that is quadratic in its length.
_SECONDS = re.compile(r"[ \t\r\n]*\+?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?[ \t\r\n]*")
_VALUE_SHOWN = 100

# -- a source message --------------------------------------------------------------------------------------------------


def parse_message(
    value: bytes | None,
    *,
    topic: str,
    envelope_keys: Sequence[str],
    timezone: ZoneInfo,
    id_keys: Sequence[str] = STATION_ID_KEYS,
    latest: float = math.inf,
    limits: Limits = UNLIMITED,
    check_depth: bool = True,
) -> SourceBatch:
    """Divide a source message by station.

    Args:
        value: The message: JSON, an object with the list of records under an envelope key, the list itself, or one
            record.
        topic: The topic it came on, which is the first envelope key tried; `realTimeData` is the second.
        envelope_keys: The envelope keys tried after these.
        timezone: The zone of times that name none.
        id_keys: The keys that may hold a record's station id.
        latest: The latest usable time, Unix seconds: see `app.inputs.timestamps.latest_usable`.
        limits: What the message may have.
        check_depth: As in `app.inputs.grouping.divide`.

    Returns:
        The stations with their records; no stations and no rejects for an empty list.

    Raises:
        BadMessage: Not JSON, none of the four forms, nested too deeply, or too many stations. Nothing else is raised,
            whatever the bytes.
    """
    keys = all_envelope_keys(topic, envelope_keys)
    return divide(
        value,
        lambda loaded: find_records(loaded, keys, id_keys),
        timezone,
        id_keys,
        latest=latest,
        limits=limits,
        check_depth=check_depth,
    )


def all_envelope_keys(topic: str, envelope_keys: Sequence[str]) -> tuple[str, ...]:
    """Return the envelope keys of a topic's messages, in the order in which they are tried."""
    return (topic, _ENVELOPE_KEY, *envelope_keys)


def batch_id(topic: str, timestamp: int) -> str:
    """Name the batch of a message from `topic` whose latest time is `timestamp` (Unix seconds)."""
    return f"{topic}_{timestamp}"


# -- a context message -------------------------------------------------------------------------------------------------


@fast_dataclass(frozen=True, slots=True)
class Newest:
    """The records of a station at one time, the latest that a message has of it where no window is wanted.

    `time` is in whole Unix seconds. Several records are those of several hosts. Where no record has a time, `time` is
    None and the last record is the only one.
    """

    time: int | None
    records: Sequence[Record]


@fast_dataclass(frozen=True, slots=True)
class ContextMessage:
    """The content of a context message. `stations` may have records of `EVERYONE`.

    Of a station there is the newest point, or, where a window is wanted, each point in time, ascending.
    """

    stations: Mapping[str, Sequence[Newest]]
    rejects: Sequence[Reject]
    exact: bool = False
    """See `SourceBatch`, for the next as well."""
    unusable: UnusableTimes = NO_UNUSABLE_TIMES


def parse_context(
    value: bytes | None,
    *,
    topic: str,
    envelope_keys: Sequence[str],
    timezone: ZoneInfo,
    latest: float = math.inf,
    limits: Limits = UNLIMITED,
    window: bool = False,
) -> ContextMessage:
    """Divide a context message by station.

    Args:
        value: The message: in one of the four forms of a source message, or a module's output, whose results become
            records: each has the time of the output (its `timestamp`) unless it has one of its own.
        topic: As in `parse_message`, like the arguments that follow.
        envelope_keys: The envelope keys tried after the topic and `realTimeData`.
        timezone: The zone of times that name none.
        latest: As in `parse_message`.
        limits: As in `parse_message`.
        window: Return every point of a station, not the newest alone.

    Raises:
        BadMessage: Not JSON, neither an object nor a list, nested too deeply, or too many stations.
    """
    keys = all_envelope_keys(topic, envelope_keys)
    batch = divide(
        value,
        lambda loaded: _context_records(loaded, keys, timezone, latest),
        timezone,
        CONTEXT_ID_KEYS,
        for_everyone=True,
        latest=latest,
        limits=limits,
    )
    points = {station_id: _points(records, timezone, latest) for station_id, records in batch.stations.items()}
    if not window:
        points = {station_id: [_newest(of_station[-1])] for station_id, of_station in points.items()}
    return ContextMessage(points, batch.rejects, batch.exact, batch.unusable)


def _context_records(loaded: Any, envelope_keys: Sequence[str], timezone: ZoneInfo, latest: float) -> list[Any]:
    """Return the elements of a message's list. An object without an envelope is a module's output, else a record."""
    if isinstance(loaded, dict) and not any(key in loaded for key in envelope_keys):
        return _results(loaded, timezone, latest) if _is_output(loaded) else [loaded]
    return find_records(loaded, envelope_keys, CONTEXT_ID_KEYS)


def _is_output(loaded: Record) -> bool:
    results = loaded.get(_OUTPUT_KEY)
    # A number may be an integer that this reading has no digits of: such an object is a record in any reading.
    has_number = any(type(loaded.get(key)) is float for key in CONTEXT_ID_KEYS)
    if not isinstance(results, list) or has_number or id_key(loaded, CONTEXT_ID_KEYS) is not None:
        return False
    return all(isinstance(result, dict) for result in results)


def _results(output: Record, timezone: ZoneInfo, latest: float) -> list[Any]:
    results: list[Any] = output[_OUTPUT_KEY]
    moment = record_moment(output, timezone, latest)
    if moment is None:
        return results
    return [
        result if record_moment(result, timezone, latest) else {**result, "sendTime": moment.seconds}
        for result in results
    ]


def _points(records: Sequence[Record], timezone: ZoneInfo, latest: float) -> list[Newest]:
    """Return the records of a station by their time in whole seconds, ascending."""
    moments = [record_moment(record, timezone, latest) for record in records]
    times = [math.floor(moment.seconds) for moment in moments if moment is not None]
    if not times:
        return [Newest(None, records)]
    # All have a time if one has: `divide` has seen to that.
    by_time: dict[int, list[Record]] = {}
    for record, time in zip(records, times, strict=True):
        by_time.setdefault(time, []).append(record)
    return [Newest(time, by_time[time]) for time in sorted(by_time)]


def _newest(point: Newest) -> Newest:
    """Return the newest point of a station; of records without a time that is the last one."""
    return point if point.time is not None else Newest(None, point.records[-1:])


# -- the headers of a source message -----------------------------------------------------------------------------------


@fast_dataclass(frozen=True, slots=True)
class Overrides:
    """The wishes in the Kafka headers of a source message."""

    timeout: float | None
    """Seconds from `batch-timeout`, capped; None: the default."""
    batch_id: str | None
    """From `batch-id`; None: made of the topic and the latest time."""
    replayed: bool
    """The message is a replayed dead letter and must not open a batch."""
    problems: tuple[str, ...]
    """One text for each invalid header, naming it and its value, for the log."""


_NO_OVERRIDES = Overrides(None, None, replayed=False, problems=())


def read_overrides(headers: Iterable[tuple[str, bytes | None]], *, max_age: float) -> Overrides:
    """Read the headers `batch-timeout`, `batch-id` and `replayed` of a source message.

    An invalid value becomes a problem and the default is used. Of a header that is there twice the last one counts,
    as in Kafka. `replayed` is a flag: it counts when it is there, except with the value `false` or `0`. A replayed
    message names the batch that it was of, whose id may be longer than one that is given.

    Args:
        headers: The message's headers.
        max_age: Seconds that a timeout is capped at (`AGG_MAX_BATCH_AGE`).
    """
    last = dict(headers)
    if not last:
        return _NO_OVERRIDES
    problems: list[str] = []
    timeout: float | None = None
    if "batch-timeout" in last:
        text = _text(last["batch-timeout"])
        timeout = float(text) if _SECONDS.fullmatch(text) else math.nan
        if not 0 < timeout < math.inf:
            timeout = None
            wanted = words("a finite number of seconds above 0", "大于 0 的有限秒数")
            problems.append(_problem("batch-timeout", last, wanted))
        else:
            timeout = min(timeout, max_age)
    replayed = "replayed" in last and _text(last["replayed"]).strip().lower() not in {"false", "0"}
    name: str | None = None
    if "batch-id" in last:
        name = _text(last["batch-id"])
        if not (_OLD_BATCH_ID if replayed else _BATCH_ID).fullmatch(name):
            name = None
            wanted = words("1 to 200 characters of A-Z a-z 0-9 . _ : -", "1 到 200 个 A-Z a-z 0-9 . _ : - 字符")
            problems.append(_problem("batch-id", last, wanted))
    return Overrides(timeout, name, replayed, tuple(problems))


def _text(value: bytes | None) -> str:
    return "" if value is None else value.decode("utf-8", "replace")


def _problem(header: str, headers: dict[str, bytes | None], wanted: Words) -> Words:
    value = headers[header]
    found: str = words("no value", "没有值")
    if value is not None:
        found = repr(value[:_VALUE_SHOWN])[1:] + ("…" if len(value) > _VALUE_SHOWN else "")
    return words(
        "header {header}: {found} is not {wanted}",
        "消息头 {header}：{found} 不是{wanted}",
        header=header,
        found=found,
        wanted=wanted,
    )
