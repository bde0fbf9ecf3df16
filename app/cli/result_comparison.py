"""The results of two output topics side by side, whatever their shapes: one message a station, or one a batch. Pure.

Results are joined by station and time. Of two lists of a station's results those belong together that are each the
other's nearest in time: so a result that is missing on one side does not shift all that come after it.
"""

from __future__ import annotations

import bisect
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any
from zoneinfo import ZoneInfo

import orjson

from app.inputs.timestamps import parse_time
from app.messages.message import InMessage
from app.messages.output import number_in
from tables.storage import exact_json

STATION_KEYS = ("station_id", "stationId")
LATEST = 2e11  # no time of a result: a calendar must be able to show it
_BATCH_TIME = re.compile(r"_([0-9]{1,12})\Z")

_at = attrgetter("at")


@dataclass(frozen=True, slots=True)
class StationResult:
    """One station's result in a topic.

    Attributes:
        station_id: whose.
        at: what it is joined by, Unix seconds.
        written: when its message was written, Unix seconds.
        value: what the model has returned, as JSON holds it.
        place: where it stands, for a report.
    """

    station_id: str
    at: float
    written: float
    value: Any
    place: str


@dataclass(frozen=True, slots=True)
class Pair:
    """Two results that belong together; one of them may be missing, not both."""

    old: StationResult | None
    new: StationResult | None

    @property
    def same(self) -> bool:
        """Both are there, and equal."""
        return self.old is not None and self.new is not None and self.old.value == self.new.value

    @property
    def results(self) -> list[StationResult]:
        """Those that are there, the old one first."""
        return [result for result in (self.old, self.new) if result is not None]

    def within(self, since: float, until: float) -> bool:
        """Tell whether one of them was written in that time, in Unix seconds."""
        return any(since <= result.written <= until for result in self.results)


class _NoTime(Exception):  # noqa: N818 - says what is wrong with a message
    """A station's message has no time in the field that should have it."""


class ResultReader:
    """Reads the results of one topic out of its messages, which are given in the order of each partition.

    Args:
        timezone: of times that name none.
        time_field: the field of a station's message that has its time; a batch's is then that at the end of its id.
            None: the time when a station's message was written, and when a batch was opened.
    """

    def __init__(self, timezone: ZoneInfo, time_field: str | None) -> None:
        self._timezone = timezone
        self._time_field = time_field
        self._singles: list[StationResult] = []
        self._batches: dict[str, dict[int, dict[int, list[StationResult]]]] = {}
        self.unreadable: list[str] = []  # places of messages in which no result could be found
        self.timeless: list[str] = []  # those of messages that have a result, and no time where it should be

    def take(self, message: InMessage) -> None:
        """Read one message. Tombstones are passed over."""
        if message.value is None:
            return
        place = f"{message.topic}[{message.partition}]@{message.offset}"
        try:
            value = exact_json.loads(message.value)
            exact_json.dumps(value)  # it reads lists in lists of more levels than it writes
            if isinstance(value, dict) and isinstance(value.get("stations"), list):
                self._take_batch(message, value, place)
            else:
                self._singles.append(self._single(message, value, place))
        except _NoTime:
            self.timeless.append(place)
        except (ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError):
            self.unreadable.append(place)

    def results(self) -> list[StationResult]:
        """All results: of a batch those of its last revision, of several copies of a message one.

        Copies of a station's message can be told only by a time that it has itself.
        """
        newest = (revisions[max(revisions)] for revisions in self._batches.values())
        singles = self._singles
        if self._time_field is not None:
            copies = {(single.station_id, single.at, _text(single.value)): single for single in reversed(singles)}
            singles = list(copies.values())
        return [*singles, *(result for parts in newest for part in parts.values() for result in part)]

    def _take_batch(self, message: InMessage, value: dict[str, Any], place: str) -> None:
        batch_id = value.get("batch_id") or (message.key or b"").decode()
        meta = value.get("meta") or {}
        headers = dict(message.headers)
        revision, part = (number_in(headers.get(name, b"1")) for name in ("revision", "part"))
        if revision is None or part is None:
            raise ValueError(headers)
        at = float(meta.get("opened_at", message.timestamp))
        if self._time_field is not None and (found := _BATCH_TIME.search(batch_id)):
            at = float(found[1])
        if not 0 <= at < LATEST:
            raise ValueError(at)
        self._batches.setdefault(batch_id, {}).setdefault(revision, {})[part] = [
            StationResult(_station_of(result), at, message.timestamp, _bare(result), f"{place} ({batch_id})")
            for result in value["stations"]
        ]

    def _single(self, message: InMessage, value: Any, place: str) -> StationResult:
        if isinstance(value, dict) and any(key in value for key in STATION_KEYS):
            station_id = _station_of(value)
        else:
            station_id = (message.key or b"").decode() or _no_station()
        at = message.timestamp
        if self._time_field is not None:
            at = self._time_of(value)
        wanted = value
        if isinstance(value, dict):
            left_out = {"module", self._time_field}
            wanted = value["result"] if "result" in value else {k: v for k, v in value.items() if k not in left_out}
        return StationResult(station_id, at, message.timestamp, _bare(wanted), place)

    def _time_of(self, value: Any) -> float:
        holders = (value, value.get("result")) if isinstance(value, dict) else ()
        for holder in holders:
            if isinstance(holder, dict) and self._time_field in holder:
                seconds = parse_time(holder[self._time_field], self._timezone)
                if seconds is not None:
                    return float(int(seconds))
        raise _NoTime


def join(old: Iterable[StationResult], new: Iterable[StationResult], *, within: float) -> list[Pair]:
    """Every result once: with its counterpart where there is one at most `within` seconds away. By time."""
    olds, news = _by_station(old), _by_station(new)
    pairs: list[Pair] = []
    for station_id in olds.keys() | news.keys():
        pairs += _join_station(olds[station_id], news[station_id], within)
    return sorted(pairs, key=lambda pair: min((result.at, result.station_id) for result in pair.results))


def _by_station(results: Iterable[StationResult]) -> defaultdict[str, list[StationResult]]:
    by_station: defaultdict[str, list[StationResult]] = defaultdict(list)
    for result in results:
        by_station[result.station_id].append(result)
    for of_station in by_station.values():
        of_station.sort(key=_at)
    return by_station


def _join_station(olds: Sequence[StationResult], news: Sequence[StationResult], within: float) -> list[Pair]:
    """Both in the order of their times."""
    pairs: list[Pair] = []
    joined: set[int] = set()
    for index, old in enumerate(olds):
        other = _nearest(news, old.at)
        if other is not None and abs(news[other].at - old.at) <= within and _nearest(olds, news[other].at) == index:
            joined.add(other)
            pairs.append(Pair(old, news[other]))
        else:
            pairs.append(Pair(old, None))
    return pairs + [Pair(None, new) for index, new in enumerate(news) if index not in joined]


def _nearest(results: Sequence[StationResult], at: float) -> int | None:
    """Index of the result that is nearest in time; of equal ones the first."""
    right = bisect.bisect_left(results, at, key=_at)
    around = [index for index in (right - 1, right) if 0 <= index < len(results)]
    if not around:
        return None
    nearest = min(around, key=lambda index: abs(results[index].at - at))
    return bisect.bisect_left(results, results[nearest].at, key=_at)


def _station_of(result: dict[str, Any]) -> str:
    for key in STATION_KEYS:
        if isinstance(result.get(key), str | int):
            return str(result[key])
    return _no_station()


def _text(result: Any) -> bytes:
    return exact_json.dumps(result, option=orjson.OPT_SORT_KEYS)


def _no_station() -> str:
    message = "no station id"
    raise LookupError(message)


def _bare(result: Any) -> Any:
    """The value that the model has returned: without the id that a batch's list adds, and without its wrapping."""
    if not isinstance(result, dict):
        return result
    bare = {name: value for name, value in result.items() if name not in STATION_KEYS}
    return bare["result"] if bare.keys() == {"result"} else bare
