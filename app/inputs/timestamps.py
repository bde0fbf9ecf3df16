"""Times of records: every accepted form is read, and columns get one form."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from datetime import timezone as FixedZone  # noqa: N812 - `timezone` is an argument everywhere here
from functools import lru_cache
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

TIME_KEYS = ("sendTime", "send_time", "timestamp")
"""The keys of a record that may hold its time; the first usable one counts."""

# A number is in the unit in which it falls between 2001 and 2100, in whatever zone: no two units overlap there.
_NUMBERS_FROM = 978_307_200 - 86_400
_NUMBERS_TO = 4_133_980_800 + 86_400
_UNITS = (1, 10**3, 10**6, 10**9)  # in a second
_FRACTION_DIGITS = 6
_MICROSECONDS = 10**_FRACTION_DIGITS

# A day inside what `datetime` can hold, so that no offset of any zone can overflow it.
EARLIEST = -62_135_596_800 + 86_400
"""Unix seconds of the earliest usable time, 0001-01-02 UTC."""
_LATEST = 253_402_300_799 - 86_400

_END_OF_DAY, _LEAP_SECOND = 24, 60
_TEXT_LIMIT = 64  # The longest ISO 8601 text has under 40 characters; what is longer must not fill the cache.
_CACHED = 8192  # Distinct times at hand at once: a message has at most some hundreds.

_QUARTER = 900  # seconds
_MINUTES = [f"{second // 60:02}:{second % 60:02}" for second in range(3600)]

_PLAIN = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2} (?:[01][0-9]|2[0-3])):([0-5][0-9]):([0-5][0-9])")
_NUMBER = re.compile(r"([0-9]{1,19})(?:[.,]([0-9]{0,16}))?")
# A number of these digits is a date, not seconds of 1970: YYYYMMDD[HHMM[SS[mmm]]], and a fraction of the second.
_COMPACT = re.compile(
    r"(?P<year>(?:19|20)[0-9]{2}|2100)(?P<month>0[1-9]|1[0-2])(?P<day>0[1-9]|[12][0-9]|3[01])"
    r"(?:(?P<hour>[01][0-9]|2[0-4])(?P<minute>[0-5][0-9])(?:(?P<second>[0-5][0-9]|60)"
    r"(?:(?P<thousandths>[0-9]{3})|[.,](?P<fraction>[0-9]*))?)?)?"
)
# Hours of an offset may have one digit where no other follows: `+800` may be 8 or 80.
_ZONE = (
    r"(?: ?(?:(?P<utc>[Zz]|[Uu][Tt][Cc]|[Gg][Mm][Tt])"
    r"|(?P<sign>[+\-\u2212])(?P<ahead>[0-9]{2}|[0-9](?![0-9]))"
    r"(?::?(?P<ahead_minutes>[0-5][0-9])(?::?(?P<ahead_seconds>[0-5][0-9]))?)?))?"
)
# The plants' own form, the same with slashes or dots, and ISO 8601: months, days and hours may have one digit.
_EXTENDED = re.compile(
    r"(?P<year>[0-9]{4})(?P<mark>[-/.])(?P<month>[0-9]{1,2})(?P=mark)(?P<day>[0-9]{1,2})"
    r"(?:(?:[Tt]| +)(?P<hour>[0-9]{1,2})"
    rf"(?::(?P<minute>[0-5][0-9])(?::(?P<second>[0-5][0-9]|60)(?:[.,](?P<fraction>[0-9]+))?)?)?{_ZONE})?"
)
_BASIC = re.compile(
    r"(?P<year>[0-9]{4})(?P<mark>-?)(?P<month>[0-9]{2})(?P=mark)(?P<day>[0-9]{2})"
    r"(?:(?:[Tt]| +)(?P<hour>[0-9]{2})"
    rf"(?::?(?P<minute>[0-5][0-9])(?::?(?P<second>[0-5][0-9]|60)(?:[.,](?P<fraction>[0-9]+))?)?)?{_ZONE})?"
)
_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?[smhd])+")
_STEP = re.compile(r"([0-9.]+)([smhd])")
_STEP_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
# Weeks: the date is put in the place of the first group. Monday where no day is given.
_WEEK = re.compile(r"([0-9]{4})-?W([0-9]{2})(?:-?([1-7]))?((?:[Tt ].*)?)")
_ORDINAL = re.compile(r"([0-9]{4})-?([0-9]{3})((?:[Tt ].*)?)")  # days of the year


class Moment(NamedTuple):
    """A usable time of a record."""

    seconds: float
    """Unix seconds, with the fraction."""
    text: str
    """`YYYY-MM-DD HH:MM:SS` in the timezone, the fraction cut off."""


def parse_time(value: object, timezone: ZoneInfo) -> float | None:
    """Read a time in any of the accepted forms.

    Args:
        value: Text: `YYYY-MM-DD HH:MM:SS`, the same with slashes or dots, or ISO 8601 (a date alone is its midnight;
            without a zone in `timezone`). `YYYYMMDD[HHMM[SS[mmm]]]` as text or number, in `timezone`. Unix seconds,
            milliseconds, microseconds or nanoseconds as number or text: the unit in which it falls between 2001 and
            2100.
        timezone: The zone of times that name none.

    Returns:
        Unix seconds; None when the value is not usable: another type, bool, NaN, a number that is no date and in no
        unit between 2001 and 2100, a date that does not exist. Never raises.
    """
    moment = read_moment(value, timezone)
    return None if moment is None else moment.seconds


def read_moment(value: object, timezone: ZoneInfo) -> Moment | None:
    """Read a time like `parse_time`, together with its text in `timezone`; None when it is not usable."""
    # The exact types that JSON gives: bool is an int to isinstance, and a subclass could raise.
    if type(value) is str:
        return _moment_of_text(value, timezone) if len(value) <= _TEXT_LIMIT else None
    if type(value) is int or type(value) is float:
        return _moment_of_number(value, timezone) if 0 <= value < _NUMBERS_TO * _UNITS[-1] else None
    return None


def are_seconds(number: int) -> bool:
    """Whether a number is a time in Unix seconds: one between 2001 and 2100."""
    return _NUMBERS_FROM <= number < _NUMBERS_TO


def parse_duration(text: str) -> float | None:
    """Return the seconds of a duration such as `90s`, `15m` or `1h30m`; None when it is none."""
    if not _DURATION.fullmatch(text):
        return None
    return sum(float(number) * _STEP_SECONDS[unit] for number, unit in _STEP.findall(text))


def record_moment(record: Mapping[str, Any], timezone: ZoneInfo, latest: float = math.inf) -> Moment | None:
    """Return the first usable time of a record among `TIME_KEYS`, None when it has none.

    A time later than `latest` (Unix seconds) is not usable.
    """
    for key in TIME_KEYS:
        value = record.get(key)
        if value is not None:
            moment = read_moment(value, timezone)
            if moment is not None and moment.seconds <= latest:
                return moment
    return None


def latest_usable(message_time: float, max_ahead: float) -> float:
    """Return the latest usable time in a message (Unix seconds); `max_ahead` is AGG_MAX_AHEAD, 0: no limit."""
    return message_time + max_ahead if max_ahead else math.inf


@lru_cache(_CACHED)
def format_time(seconds: int, timezone: ZoneInfo) -> str:
    """Write Unix seconds as `YYYY-MM-DD HH:MM:SS` in `timezone`; years before 1000 keep their zeros."""
    return datetime.fromtimestamp(seconds, timezone).replace(tzinfo=None).isoformat(sep=" ")


def format_times(times: Sequence[int], timezone: ZoneInfo) -> list[str]:
    """Write many Unix seconds as `format_time` does, in a third of the time."""
    texts = []
    for seconds in times:
        number, rest = divmod(seconds, _QUARTER)
        quarter = _quarter(number, timezone)
        texts.append(format_time(seconds, timezone) if quarter is None else quarter[0] + _MINUTES[quarter[1] + rest])
    return texts


@lru_cache(_CACHED)
def _quarter(number: int, timezone: ZoneInfo) -> tuple[str, int] | None:
    """Return the text of the hour in which a quarter of an hour lies, `YYYY-MM-DD HH:`, and at which second it begins.

    None where it does not lie in one hour of local time, or the clock is set within it.
    """
    begin, end = number * _QUARTER, (number + 1) * _QUARTER - 1
    first, last = format_time(begin, timezone), format_time(end, timezone)
    seconds = 60 * int(first[14:16]) + int(first[17:])
    if first[:14] != last[:14] or 60 * int(last[14:16]) + int(last[17:]) - seconds != _QUARTER - 1:
        return None
    return first[:14], seconds


@lru_cache(_CACHED)
def _moment_of_text(text: str, timezone: ZoneInfo) -> Moment | None:
    text = text.strip()
    plain = _PLAIN.fullmatch(text)
    if plain:
        hour, minute, second = plain.groups()
        begin = _begin_of_hour(hour, timezone)
        if begin is not None:
            return Moment(begin + 60 * int(minute) + int(second), text)
    compact = _COMPACT.fullmatch(text)
    if compact:
        return _moment_of_parts(compact, timezone)
    number = _NUMBER.fullmatch(text)
    if number:
        return _moment_in_unit(float(f"{number[1]}.{number[2]}") if number[2] else int(number[1]), timezone)
    parts = _EXTENDED.fullmatch(text) or _BASIC.fullmatch(_as_calendar_date(text))
    return _moment_of_parts(parts, timezone) if parts else None


def _as_calendar_date(text: str) -> str:
    """Return the text with `YYYYMMDD` in place of a week or ordinal date of ISO 8601; any other text as it is."""
    week, ordinal = _WEEK.fullmatch(text), _ORDINAL.fullmatch(text)
    try:
        if week:
            day, rest = date.fromisocalendar(int(week[1]), int(week[2]), int(week[3] or 1)), week[4]
        elif ordinal:
            first = date(int(ordinal[1]), 1, 1)
            day, rest = first + timedelta(days=int(ordinal[2]) - 1), ordinal[3]
            if day.year != first.year:
                return text
        else:
            return text
    except (ValueError, OverflowError):
        return text
    return f"{day.year:04}{day.month:02}{day.day:02}{rest}"


def _moment_of_parts(match: re.Match[str], timezone: ZoneInfo) -> Moment | None:
    """Return the moment of a date that has been taken apart; None where it does not exist.

    Hour 24 with nothing after it is the next midnight, second 60 the next minute (ISO 8601).
    """
    parts = match.groupdict()
    hour, minute, second = (int(parts[name] or 0) for name in ("hour", "minute", "second"))
    fraction = float(f"0.{(parts.get('thousandths') or parts['fraction'] or '0')[:_FRACTION_DIGITS]}")
    if hour == _END_OF_DAY and (minute or second or fraction):
        return None
    try:
        day = datetime(int(parts["year"]), int(parts["month"]), int(parts["day"]), tzinfo=_zone(parts, timezone))
        # On the clock, not in real time: where the clock is set in between, this is what it shows.
        at = day + timedelta(hours=hour, minutes=minute, seconds=min(second, 59))
        seconds = at.timestamp() + (second == _LEAP_SECOND) + fraction
    except (ValueError, OverflowError):
        return None
    usable = hour <= _END_OF_DAY and EARLIEST <= seconds <= _LATEST
    return _moment(seconds, timezone) if usable else None


def _zone(parts: Mapping[str, str | None], otherwise: ZoneInfo) -> tzinfo:
    if parts.get("utc"):
        return UTC
    if not parts.get("sign"):
        return otherwise
    hours, minutes, seconds = (int(parts[name] or 0) for name in ("ahead", "ahead_minutes", "ahead_seconds"))
    offset = timedelta(hours=hours, minutes=minutes, seconds=seconds)
    return FixedZone(offset if parts["sign"] == "+" else -offset)


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
def _moment_of_number(number: float, timezone: ZoneInfo) -> Moment | None:
    text = f"{number:.3f}".rstrip("0").removesuffix(".") if type(number) is float else str(number)
    compact = _COMPACT.fullmatch(text)
    return _moment_of_parts(compact, timezone) if compact else _moment_in_unit(number, timezone)


def _moment_in_unit(number: float, timezone: ZoneInfo) -> Moment | None:
    for unit in _UNITS:
        if _NUMBERS_FROM * unit <= number < _NUMBERS_TO * unit:
            # Cut to microseconds, which a float of today's seconds holds: nanoseconds would be rounded up.
            seconds, rest = divmod(number, unit)
            return _moment(seconds + rest * _MICROSECONDS // unit / _MICROSECONDS, timezone)
    return None


def _moment(seconds: float, timezone: ZoneInfo) -> Moment:
    return Moment(seconds, format_time(math.floor(seconds), timezone))
