"""The latest record of a station in a source message.

A message may have tens of megabytes, and to parse them for one record would hold the pipeline's loop up for a second.
Of a large one only the last record that names the station is looked for, by the bytes of its id.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Final

import orjson

from app.inputs.grouping import STATION_ID_KEYS, BadMessage
from app.inputs.source_message import parse_message
from app.inputs.timestamps import latest_usable, record_moment
from app.messages.message import InMessage
from app.settings import Settings
from app.web.turns import Turns

PARSED: Final = 1024 * 1024  # bytes of the largest message that is parsed as a whole
_WINDOW: Final = 2 * 1024 * 1024  # bytes that are searched in one turn
_RECORD: Final = 256 * 1024  # bytes of a record, and before the id in it
_BRACES: Final = 32  # before the id, at each of which the record may begin
_OCCURRENCES: Final = 8  # of the id


async def last_record(message: InMessage, station: str, settings: Settings, turns: Turns) -> Mapping[str, Any] | None:
    """Return the latest record of a station in a source message, of a large one the last; None where there is none."""
    value = message.value or b""
    if len(value) > PARSED:
        return await _last_named(value, station, turns)
    try:
        found = parse_message(
            value, topic=message.topic, envelope_keys=settings.envelope_keys, timezone=settings.timezone
        )
    except BadMessage:  # it was read once: the topic is another one now
        return None
    limit = latest_usable(message.timestamp, settings.max_ahead) if message.is_dated else math.inf
    latest, at = None, -math.inf
    for record in found.stations.get(station, ()):
        moment = record_moment(record, settings.timezone)
        seconds = -math.inf if moment is None or moment.seconds > limit else moment.seconds
        if latest is None or seconds >= at:
            latest, at = record, seconds
    return latest


async def _last_named(value: bytes, station: str, turns: Turns) -> Mapping[str, Any] | None:
    quoted = orjson.dumps(station)
    for needle in (quoted, quoted[1:-1]) if station.isascii() and station.isdigit() else (quoted,):
        end, left = len(value), _OCCURRENCES
        while end > 0 and left:
            begin = max(0, end - _WINDOW)
            place = value.rfind(needle, begin, end)
            if place < 0:
                end = begin + len(needle) - 1 if begin else 0
            else:
                if (record := _record_at(value, place, station)) is not None:
                    return record
                end, left = place, left - 1
            await turns.rest()
    return None


def _record_at(value: bytes, place: int, station: str) -> Mapping[str, Any] | None:
    """Return the record of a station whose id stands at that place; None where something else does."""
    before = value[max(0, place - _RECORD) : place]
    behind = value[place : place + _RECORD]
    for start in islice(_braces(before), _BRACES):
        text = (before[start:] + behind).decode(errors="ignore")
        try:
            record, _ = json.JSONDecoder().raw_decode(text)
        except (ValueError, RecursionError):
            continue
        if any(str(record.get(key)) == station for key in STATION_ID_KEYS):
            found: Mapping[str, Any] = record
            return found
    return None


def _braces(text: bytes) -> Iterator[int]:
    """Yield the places of opening braces, the last one first."""
    place = text.rfind(b"{")
    while place >= 0:
        yield place
        place = text.rfind(b"{", 0, place)
