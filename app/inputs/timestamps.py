"""Times of records: every accepted form is read, and columns get one form."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

TIME_KEYS = ("sendTime", "send_time", "timestamp")
"""The keys of a record that may hold its time; the first usable one counts."""

_MILLISECONDS_FROM = 1e11  # As seconds this is the year 5138, as milliseconds 1973: no real time is ambiguous.
# As milliseconds the year 2286. Keeps microseconds out, and 20251104090000, a date without punctuation.
_NUMBERS_TO = 1e13

# A day inside what `datetime` can hold, so that no offset of any zone can overflow it.
EARLIEST = -62_135_596_800 + 86_400
"""Unix seconds of the earliest usable time, 0001-01-02 UTC."""
_LATEST = 253_402_300_799 - 86_400

_TEXT_LIMIT = 64  # The longest ISO 8601 text has under 40 characters; what is longer must not fill the cache.
_CACHED = 8192  # Distinct times at hand at once: a message has at most some hundreds.

_BASIC_DATE = re.compile(r"(?:19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])")  # no seconds of 1970
_PLAIN = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2} (?:[01][0-9]|2[0-3])):([0-5][0-9]):([0-5][0-9])")
_NUMBER = re.compile(r"[0-9]{1,16}(?:\.[0-9]{0,16})?")
# `fromisoformat` takes any character between date and time; ISO 8601 has the T, and the plants' own form a space.
# The end of a day is the next midnight (ISO 8601). Python reads that from 3.14 on, this program on each.
_END_OF_DAY = re.compile(r"([0-9W-]+[T ])24((?::?00(?::?00(?:[.,]0+)?)?)?(?:Z|[+-][0-9:]+)?)")
_ISO = re.compile(r"(?:[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{8}|[0-9]{4}-?W[0-9]{2}(?:-?[0-9])?)(?:[T ][0-9:.,Z+-]+)?")


class Moment(NamedTuple):
    """A usable time of a record."""

    seconds: float
    """Unix seconds, with the fraction."""
    text: str
    """`YYYY-MM-DD HH:MM:SS` in the timezone, the fraction cut off."""


def parse_time(value: object, timezone: ZoneInfo) -> float | None:
    """Read a time in any of the accepted forms.

    Args:
        value: Text `YYYY-MM-DD HH:MM:SS` (in `timezone`), ISO 8601 text (a date alone is its midnight; without an
            offset in `timezone`), or Unix seconds or milliseconds as int, float or numeric text. Numbers from 1e11
            on are milliseconds.
        timezone: The zone of texts that name none.

    Returns:
        Unix seconds; None when the value is not usable: another type, bool, NaN, a negative number, a number from
        1e13 on, a date that does not exist. Never raises.
    """
    moment = read_moment(value, timezone)
    return None if moment is None else moment.seconds


def read_moment(value: object, timezone: ZoneInfo) -> Moment | None:
    """Read a time like `parse_time`, together with its text in `timezone`; None when it is not usable."""
    # The exact types that JSON gives: bool is an int to isinstance, and a subclass could raise.
    if type(value) is str:
        return _moment_of_text(value, timezone) if len(value) <= _TEXT_LIMIT else None
    if type(value) is int or type(value) is float:
        return _moment_of_number(value, timezone) if 0 <= value < _NUMBERS_TO else None
    return None


def record_moment(record: Mapping[str, Any], timezone: ZoneInfo) -> Moment | None:
    """Return the first usable time of a record among `TIME_KEYS`, None when it has none."""
    for key in TIME_KEYS:
        value = record.get(key)
        if value is not None:
            moment = read_moment(value, timezone)
            if moment is not None:
                return moment
    return None


@lru_cache(_CACHED)
def format_time(seconds: int, timezone: ZoneInfo) -> str:
    """Write Unix seconds as `YYYY-MM-DD HH:MM:SS` in `timezone`; years before 1000 keep their zeros."""
    return datetime.fromtimestamp(seconds, timezone).replace(tzinfo=None).isoformat(sep=" ")


@lru_cache(_CACHED)
def _moment_of_text(text: str, timezone: ZoneInfo) -> Moment | None:
    text = text.strip()
    plain = _PLAIN.fullmatch(text)
    if plain:
        hour, minute, second = plain.groups()
        begin = _begin_of_hour(hour, timezone)
        if begin is not None:
            return Moment(begin + 60 * int(minute) + int(second), text)
    if _NUMBER.fullmatch(text) and not _BASIC_DATE.fullmatch(text):
        number = float(text)
        return _moment_of_number(number, timezone) if number < _NUMBERS_TO else None
    if not _ISO.fullmatch(text):
        return None
    ending = _END_OF_DAY.fullmatch(text)
    try:
        read = datetime.fromisoformat(f"{ending[1]}00{ending[2]}" if ending else text)
        if ending:
            read += timedelta(days=1)
        if read.tzinfo is None:
            read = read.replace(tzinfo=timezone)
        seconds = read.timestamp()
    except (ValueError, OverflowError):
        return None
    return _moment(seconds, timezone) if EARLIEST <= seconds <= _LATEST else None


@lru_cache(_CACHED)
def _begin_of_hour(text: str, timezone: ZoneInfo) -> float | None:
    """Return the Unix seconds at which an hour `YYYY-MM-DD HH` of local time begins.

    None where there is no such hour, or the clock is set within it. Hours are cached because the times of a plant are
    within a few of them, and because the rules of a zone take longer than the rest of reading a time.
    """
    try:
        begin = datetime.fromisoformat(f"{text}:00:00").replace(tzinfo=timezone)
        ends = (begin, begin + timedelta(minutes=59, seconds=59))
        seconds = [end.replace(fold=fold).timestamp() for end in ends for fold in (0, 1)]
    except (ValueError, OverflowError):
        return None
    regular = seconds[0] == seconds[1] and seconds[2] == seconds[3] == seconds[0] + 3599
    return seconds[0] if regular and seconds[0] >= EARLIEST and seconds[3] <= _LATEST else None


@lru_cache(_CACHED)
def _moment_of_number(number: float, timezone: ZoneInfo) -> Moment:
    return _moment(float(number) if number < _MILLISECONDS_FROM else number / 1000, timezone)


def _moment(seconds: float, timezone: ZoneInfo) -> Moment:
    return Moment(seconds, format_time(math.floor(seconds), timezone))
