"""Reading a context message: bytes -> the newest record of each station that it names, and what has to be rejected."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from app.inputs.grouping import CONTEXT_ID_KEYS, Reject, divide, find_records, id_key, load_json
from app.inputs.source_message import ENVELOPE_KEY
from app.inputs.timestamps import record_moment
from tables.context import Record

__all__ = ["ContextMessage", "Newest", "parse_context"]

STATIONS = "stations"  # what a module's output holds its results under


@dataclass(frozen=True, slots=True)
class Newest:
    """What a message says of one station at the latest time in it.

    `time` is in whole Unix seconds. Several records are those of several hosts; None comes with the last record alone.
    """

    time: int | None
    records: Sequence[Record]


@dataclass(frozen=True, slots=True)
class ContextMessage:
    """What a context message holds. `stations` may have a record of `EVERYONE` in it."""

    stations: Mapping[str, Newest]
    rejects: Sequence[Reject]


def parse_context(
    value: bytes | None, *, topic: str, envelope_keys: Sequence[str], timezone: ZoneInfo
) -> ContextMessage:
    """Divide a context message by station.

    Args:
        value: The message: in one of the four forms of a source message, or a module's output, whose results become
            records: each has the time of the output (its `timestamp`) unless it has one of its own.
        topic: The topic it came on, which is the first envelope key tried; `realTimeData` is the second.
        envelope_keys: The envelope keys tried after these.
        timezone: The zone of times that name none.

    Raises:
        BadMessage: Not JSON, neither an object nor a list, or nested too deeply.
    """
    keys = (topic, ENVELOPE_KEY, *envelope_keys)
    batch = divide(
        _records(load_json(value), keys, timezone),
        timezone,
        CONTEXT_ID_KEYS,
        exact=lambda: _records(json.loads(value or b""), keys, timezone),
        for_everyone=True,
    )
    newest = {station_id: _newest(records, timezone) for station_id, records in batch.stations.items()}
    return ContextMessage(newest, batch.rejects)


def _records(loaded: Any, envelope_keys: Sequence[str], timezone: ZoneInfo) -> list[Any]:
    """The elements of the message's list; an object without an envelope is a record, whatever it has; or an output."""
    if isinstance(loaded, dict) and not any(key in loaded for key in envelope_keys):
        return _results(loaded, timezone) if _is_output(loaded) else [loaded]
    return find_records(loaded, envelope_keys, CONTEXT_ID_KEYS)


def _is_output(loaded: Record) -> bool:
    results = loaded.get(STATIONS)
    if not isinstance(results, list) or id_key(loaded, CONTEXT_ID_KEYS) is not None:
        return False
    return all(isinstance(result, dict) for result in results)


def _results(output: Record, timezone: ZoneInfo) -> list[Any]:
    moment = record_moment(output, timezone)
    if moment is None:
        return list(output[STATIONS])
    return [
        result if record_moment(result, timezone) else {**result, "sendTime": moment.seconds}
        for result in output[STATIONS]
    ]


def _newest(records: Sequence[Record], timezone: ZoneInfo) -> Newest:
    moments = [record_moment(record, timezone) for record in records]
    times = [math.floor(moment.seconds) for moment in moments if moment is not None]
    if not times:
        return Newest(None, records[-1:])
    latest = max(times)
    # All have a time if one has: `divide` has seen to that.
    return Newest(latest, [record for record, time in zip(records, times, strict=True) if time == latest])
