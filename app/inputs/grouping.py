"""The records of a message: read from its JSON, and divided by station."""

from __future__ import annotations

import gc
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import field
from functools import wraps
from types import NoneType
from typing import Any, ParamSpec, TypeVar
from zoneinfo import ZoneInfo

import orjson

from app.inputs.timestamps import TIME_KEYS, Moment, read_moment, record_moment
from app.words import Words, words
from tables.context import EVERYONE, Record
from tables.model.fast_dataclass import fast_dataclass
from tables.storage import exact_json
from tables.storage.exact_json import ID_FIELDS, Longest

Args = ParamSpec("Args")
Result = TypeVar("Result")

STATION_ID_KEYS = ("stationId", "station_id")
"""The keys of a record that may hold its station id; the first usable one counts."""
CONTEXT_ID_KEYS = (*STATION_ID_KEYS, "hostCode", "host_id", "meterId", "meter_id")
"""The keys that may hold it on pass-through and context topics."""

MOST_REJECTS = 100_000
"""The most records of a message that become letters one by one; beyond, the message becomes one, whole."""

DEEPEST = 246
"""The most levels of lists and objects in a message."""

_NAMES_SHOWN = 10
_VALUE_SHOWN = 100
_KINDS = {
    NoneType: words("null", "null"),
    bool: words("a boolean", "布尔值"),
    str: words("a text", "文本"),
    list: words("a list", "列表"),
    dict: words("an object", "对象"),
}


class BadMessage(ValueError):  # noqa: N818 - the contract's word
    """A source message that is not JSON, or is none of the four forms; the text says what was wrong.

    It has its Chinese for who sends such a message. In a dead letter it is English, as all errors there are.
    """


class TooDeepError(ValueError):
    """The records may be nested too deeply: what has been read is to be checked as a whole."""


@fast_dataclass(frozen=True, slots=True)
class Reject:
    """A record that cannot be used, and becomes a dead letter."""

    record: bytes
    """The record as JSON."""
    error: str
    station_id: str | None = None
    """Known where the record only lacks a time."""


@fast_dataclass(frozen=True, slots=True)
class Limits:
    """What a message may have, at most."""

    stations: int = sys.maxsize
    """`AGG_MAX_STATIONS`: a message with more is a bad one."""
    id_length: int = sys.maxsize
    """`AGG_MAX_ID_LENGTH`, in characters: a record whose station id has more is rejected."""


UNLIMITED = Limits()


@fast_dataclass(frozen=True, slots=True)
class UnusableTimes:
    """The times in a message that are there and not usable, for the log; as JSON, cut."""

    unreadable: str | None = None
    """The first that can't be read."""
    ahead: Mapping[str, str] = field(default_factory=dict)
    """Station id -> the first of its times that is too late."""


NO_UNUSABLE_TIMES = UnusableTimes()


@fast_dataclass(frozen=True, slots=True)
class SourceBatch:
    """The records of a message, each exactly once, in `stations` or in `rejects`."""

    timestamp: int | None
    """Unix seconds of the latest usable time in the message, rounded down; None when there is none."""
    stations: dict[str, list[Record]]
    """Station id -> its records, at least one, in message order; ids in the order in which the message names them."""
    rejects: tuple[Reject, ...]
    """First the records that have no station id, then those without a time beside others that have one."""
    exact: bool = False
    """The records hold numbers that only `tables.storage.exact_json` writes and reads."""
    unusable: UnusableTimes = NO_UNUSABLE_TIMES
    unchecked: bool = False
    """Whoever writes the records has to find out whether they are nested too deeply: see `divide`."""
    untimed: bool = False
    """There are records without a usable time."""


class _Rejects(list[Reject]):
    """The rejects of a message; raises BadMessage when they are too many to be letters of their own.

    Two bytes can be a reject, of which a letter makes a thousand: one message could fill memory, at each start again.
    """

    def append(self, reject: Reject) -> None:
        if len(self) == MOST_REJECTS:
            raise BadMessage(too_many_rejects(self[0]))
        super().append(reject)

    def extend(self, rejects: Iterable[Reject]) -> None:
        for reject in rejects:
            self.append(reject)


def find_records(loaded: Any, envelope_keys: Sequence[str], id_keys: Sequence[str]) -> list[Any]:
    """Return the elements of a message's list, which may be anything; raises BadMessage."""
    if isinstance(loaded, list):
        return loaded
    if not isinstance(loaded, dict):
        message = words(
            "none of the four forms: {kind}, not an object or a list",
            "不是四种形式之一：{kind}，而不是对象或列表",
            kind=_kind(loaded),
        )
        raise BadMessage(message)
    for key in envelope_keys:
        if key in loaded:
            records = loaded[key]
            if isinstance(records, list):
                return records
            message = words(
                "none of the four forms: the envelope key {key!r} holds {kind}, not a list of records",
                "不是四种形式之一：信封键 {key!r} 下是{kind}，而不是记录列表",
                key=key,
                kind=_kind(records),
            )
            raise BadMessage(message)
    # An object that looks like a record is one. `divide` finds out whether its station id is usable.
    if any(key in loaded for key in (*id_keys, *TIME_KEYS, "gunPower")):
        return [loaded]
    message = words(
        "none of the four forms: an object with the keys {found} has neither an envelope key ({envelopes}; "
        "AGG_ENVELOPE_KEYS) nor a station id ({ids})",
        "不是四种形式之一：对象的键为 {found}，既没有信封键（{envelopes}；AGG_ENVELOPE_KEYS），也没有场站 id（{ids}）",
        found=_names(loaded),
        envelopes=_names(dict.fromkeys(envelope_keys)),
        ids=_names(id_keys),
    )
    raise BadMessage(message)


def uncollected(function: Callable[Args, Result]) -> Callable[Args, Result]:
    """Decorate a function that reads a message: nothing is collected meanwhile, in the whole process.

    Records hold no cycles, but the collector walks them again and again while they are being made. For a large message
    that takes as long as reading it does, or longer.
    """

    @wraps(function)
    def run(*args: Args.args, **options: Args.kwargs) -> Result:
        if not gc.isenabled():
            return function(*args, **options)
        gc.disable()
        try:
            return function(*args, **options)
        finally:
            gc.enable()

    return run


@uncollected
def divide(
    value: bytes | None,
    find: Callable[[Any], list[Any]],
    timezone: ZoneInfo,
    id_keys: Sequence[str],
    *,
    for_everyone: bool = False,
    latest: float = math.inf,
    limits: Limits = UNLIMITED,
    check_depth: bool = True,
) -> SourceBatch:
    """Divide the records of a message by station.

    Args:
        value: The message.
        find: Returns the elements of the message's list, given its JSON value.
        timezone: The zone of times that name none.
        id_keys: The keys that may hold a record's station id.
        for_everyone: A record that has none of these keys belongs to `EVERYONE`; else it is rejected.
        latest: The latest usable time, Unix seconds.
        limits: What the message may have.
        check_depth: See to it that everything can be written again, which takes a fifth of reading it. Without it that
            is left, where it may matter, to who writes the stations: `SourceBatch.unchecked`. All else is checked.

    Raises:
        BadMessage: Not JSON, nested too deeply, too many stations, raised by `find`, or more than `MOST_REJECTS`
            rejects.
    """
    records, exact, depth = _read(value, find, check_depth=check_depth)
    stations: dict[str, list[Record]] = {}
    untimed: dict[str, int] = {}
    rejects = _Rejects()
    times = _TimeReader(timezone, latest)
    newest = -math.inf
    id_length = limits.id_length
    usable: set[str] = set()
    for record in _unusual(records, id_keys, usable, stations, id_length):
        station = _station_id(record, id_keys) if type(record) is dict else None
        if station is None and for_everyone and _names_no_station(record, id_keys):
            station = EVERYONE
        if station is None or len(station) > id_length:
            depth.check()
            error = _why_no_station(record, id_keys) if station is None else _why_too_long(station, limits)
            rejects.append(Reject(exact_json.dumps(record), error))
            continue
        of_station = stations.get(station)
        if of_station is None:
            stations[station] = [record]
        else:
            of_station.append(record)
        moment = record_moment(record, timezone)
        if moment is None or moment.seconds > latest:
            moment = times.usable(station, record)
        if moment is None:
            untimed[station] = untimed.get(station, 0) + 1
            continue
        newest = max(newest, moment.seconds)
        time = record.get(TIME_KEYS[0])
        if type(time) is str and moment == read_moment(time, timezone):
            usable.add(time)
    if len(stations) > limits.stations:
        raise BadMessage(too_many_stations(len(stations), limits.stations))
    if untimed:
        depth.check()
        rejects.extend(times.take_untimed(stations, untimed))
    timestamp = math.floor(newest) if newest > -math.inf else None
    return SourceBatch(timestamp, stations, tuple(rejects), exact, times.unusable, depth.unchecked, bool(untimed))


def _unusual(
    records: Iterable[Any], id_keys: Sequence[str], usable: Set[str], stations: dict[str, list[Record]], id_length: int
) -> Iterator[Any]:
    """Put most records in `stations`, in a third of the time that it takes to look at all that they may be.

    These have text under the first key of an id and of a time; `usable` are values of the latter that need no more
    looking at. Others are yielded; what they are found to be counts from the next record on.
    """
    id_field, time_field = id_keys[0], TIME_KEYS[0]
    for record in records:
        if type(record) is dict:
            station, time = record.get(id_field), record.get(time_field)
            if type(station) is str and type(time) is str and time in usable and station and not station.isspace():
                of_station = stations.get(station)
                if of_station is not None:
                    of_station.append(record)
                    continue
                if len(station) <= id_length:
                    stations[station] = [record]
                    continue
        yield record


def _read(
    value: bytes | None, find: Callable[[Any], list[Any]], *, check_depth: bool
) -> tuple[list[Any], bool, _Depth]:
    """Return the records of a message, whether they hold numbers that orjson would change, and how deep all of it is.

    Raises BadMessage.
    """
    loaded = _load(value)
    value = value or b""
    depth = _Depth(loaded, value)
    if check_depth or (type(loaded) is dict and len(loaded) > 1):  # there is more than records
        depth.check()
    longest = exact_json.longest_number(value)
    if longest is not Longest.WIDE:
        records = find(loaded)
        if longest is Longest.SHORT or not any(map(_has_decimal_id, records)):
            return records, False, depth
    depth.check()
    try:
        return find(exact_json.loads_exactly(value)), True, depth
    except BadMessage:
        raise
    except ValueError as error:
        message = words("a number that can't be held: {error}", "数字太大，无法读取：{error}", error=error)
        raise BadMessage(message) from error


def _has_decimal_id(record: Any) -> bool:
    if type(record) is not dict:
        return False
    guns = record.get("gunPower")
    gun_nos = guns.get("gunNo") if type(guns) is dict else None
    if type(gun_nos) is list and float in map(type, gun_nos):
        return True
    return any(type(record.get(field)) is float for field in ID_FIELDS)


def _load(value: bytes | None) -> Any:
    """Return the JSON value of a message; raises BadMessage."""
    if value is None:
        message = words("not JSON: the message has no value", "不是 JSON：消息没有值")
        raise BadMessage(message)
    try:
        return exact_json.loads_roughly(value)
    except orjson.JSONDecodeError as error:
        raise BadMessage(_why_no_json(error)) from error


def _why_no_json(error: orjson.JSONDecodeError) -> Words:
    """Say what is wrong with the JSON of a message; the parser's own words are English, its place is a number."""
    place = "须为 UTF-8 编码，不带 BOM" if "UTF-8" in error.msg else f"第 {error.pos + 1} 个字符处有误"
    return words("not JSON: {en}", "不是 JSON：{zh}", en=error, zh=place)


class _Depth:
    """How deep the lists and objects of a message are nested: looked at once at most, and only where it may matter."""

    def __init__(self, loaded: Any, value: bytes) -> None:
        self._loaded = loaded
        self.unchecked = value.count(b"[") + value.count(b"{") > DEEPEST  # few messages have so many

    def check(self) -> None:
        """See to it that the message can be written again, inside an envelope of up to eight levels.

        orjson reads 1,024 levels but writes 254: what is deeper would get as far as the splitter and stop it there.

        Raises:
            BadMessage: It is too deep.
        """
        if not self.unchecked:
            return
        try:
            orjson.dumps([[[[[[[[self._loaded]]]]]]]])
        except orjson.JSONEncodeError as error:
            message = words(
                "nested too deeply: more than {n} levels of lists and objects ({error})",
                "嵌套过深：列表和对象超过 {n} 层（{error}）",
                n=DEEPEST,
                error=error,
            )
            raise BadMessage(message) from error
        self.unchecked = False


def dumps_shallow(value: Sequence[Any], levels: int) -> bytes:
    """Return the JSON of a list, and see to it that so many more levels around it have room.

    With those of the list there are ten around a record: an envelope of eight, and a list of records in an object.

    Raises:
        TooDeepError: there is no room.
    """
    for _ in range(levels):
        value = [value]
    try:
        return orjson.dumps(value)[levels:-levels]
    except orjson.JSONEncodeError as error:
        raise TooDeepError from error


def id_key(record: Record, id_keys: Sequence[str]) -> str | None:
    """Return the key that holds a record's station id."""
    return next((key for key in id_keys if is_id(record.get(key))), None)


def is_id(value: Any) -> bool:
    """Return whether a value can be a station id."""
    return (type(value) is str and bool(value) and not value.isspace()) or type(value) is int


def _station_id(record: Record, id_keys: Sequence[str]) -> str | None:
    for key in id_keys:
        value = record.get(key)
        if type(value) is str:
            if value and not value.isspace():
                return value
        elif type(value) is int:
            return str(value)
    return None


def _names_no_station(record: Any, id_keys: Sequence[str]) -> bool:
    return type(record) is dict and not any(key in record for key in id_keys)


class _TimeReader:
    """Reads the times of records whose first one may be unusable, and notes those that are."""

    def __init__(self, timezone: ZoneInfo, latest: float) -> None:
        self._timezone = timezone
        self._latest = latest
        self._unreadable: str | None = None
        self._ahead: dict[str, str] = {}

    @property
    def unusable(self) -> UnusableTimes:
        """The times that have been found."""
        found = self._ahead or self._unreadable is not None
        return UnusableTimes(self._unreadable, self._ahead) if found else NO_UNUSABLE_TIMES

    def usable(self, station: str, record: Record) -> Moment | None:
        """Return the first usable time of a record."""
        for key in TIME_KEYS:
            value = record.get(key)
            if value is None:
                continue
            moment = read_moment(value, self._timezone)
            if moment is None:
                self._unreadable = self._unreadable or f"{key} {_shown(value)}"
            elif moment.seconds > self._latest:
                self._ahead.setdefault(station, f"{key} {_shown(value)}")
            else:
                return moment
        return None

    def take_untimed(self, stations: dict[str, list[Record]], counts: Mapping[str, int]) -> Iterator[Reject]:
        """Take the records without a usable time out of the stations that have others; yield them as rejects.

        `counts`: how many of them there are, of each station that has some.
        """
        for station, count in counts.items():
            records = stations[station]
            if count == len(records):
                continue
            timed = stations[station] = []
            for record in records:
                if record_moment(record, self._timezone, self._latest) is None:
                    yield untimed_reject(record, station, self.unusable)
                else:
                    timed.append(record)


def too_many_rejects(first: Reject) -> Words:
    """Say what is wrong with a message that has more rejects than MOST_REJECTS."""
    return words(
        "more than {n} of its records can't be used, the first one because: {error}",
        "其中超过 {n} 条记录无法使用，第一条的原因：{error}",
        n=MOST_REJECTS,
        error=first.error,
    )


def too_many_stations(stations: int, limit: int) -> Words:
    """Say what is wrong with a message that has more stations than that."""
    return words(
        "{stations} stations, more than the {limit} of a message (AGG_MAX_STATIONS)",
        "{stations} 个场站，超过单条消息的 {limit} 个（AGG_MAX_STATIONS）",
        stations=stations,
        limit=limit,
    )


def _why_too_long(station: str, limits: Limits) -> str:
    shown = f"{station[:_VALUE_SHOWN]}…"
    return f"a station id of {len(station)} characters, more than {limits.id_length} (AGG_MAX_ID_LENGTH): {shown}"


def _why_no_station(record: Any, id_keys: Sequence[str]) -> str:
    if not isinstance(record, dict):
        return f"{_kind(record)} is not a record"
    found = _found(record, id_keys)
    return f"no station id: {found}; text or an integer is wanted in one of {_names(id_keys)}"


def untimed_reject(record: Record, station: str, unusable: UnusableTimes) -> Reject:
    """Make the reject of a record without a usable time whose station has others; `unusable`: of their message."""
    hint = "; some of its times are too late for the message's (AGG_MAX_AHEAD)" if station in unusable.ahead else ""
    found = _found(record, TIME_KEYS)
    error = f"no usable time in a record of station {station}, which has records with one: {found}{hint}"
    return Reject(exact_json.dumps(record), error, station)


def _found(record: Record, keys: Sequence[str]) -> str:
    found = ", ".join(f"{key} is {_shown(record[key])}" for key in keys if key in record)
    return found or f"none of {_names(keys)} is there"


def _shown(value: Any) -> str:
    if isinstance(value, list | dict):
        return str(_kind(value))
    text = exact_json.dumps(value).decode()
    return text if len(text) <= _VALUE_SHOWN else text[:_VALUE_SHOWN] + "…"


def _names(names: Iterable[str]) -> Words | str:
    every = [name if len(name) <= _VALUE_SHOWN else name[:_VALUE_SHOWN] + "…" for name in names]
    more = f", … +{len(every) - _NAMES_SHOWN}" if len(every) > _NAMES_SHOWN else ""
    return ", ".join(every[:_NAMES_SHOWN]) + more if every else words("(none)", "（无）")


def _kind(value: Any) -> Words:
    """Name the JSON type of a value, with its article."""
    return _KINDS.get(type(value)) or words("a number", "数字")
