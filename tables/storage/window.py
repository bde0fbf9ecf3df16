"""The records of one station on one context topic over a stretch of time: a window. Pure.

A window holds records in the order of their times, most of them in blocks of bytes, near the size of their numbers as
JSON; a few of the latest wait by themselves until they are worth a block. Each record knows by a number the stored
segment that it came in (`tables.windows`). A point is a time, in whole Unix seconds; records of several hosts share it.
"""

from __future__ import annotations

import zlib
from bisect import bisect_left
from collections.abc import Container, Sequence
from copy import copy
from dataclasses import dataclass
from itertools import chain, groupby, repeat
from operator import itemgetter
from typing import Any, Final, NamedTuple

import orjson

from tables.storage.exact_json import MARK, dumps_marked, loads_marked
from tables.storage.marks import Marks
from tables.storage.packing import (
    Columnar,
    Record,
    joined,
    pack,
    pack_numbers,
    transposed,
    unpack,
    unpack_numbers,
)

TAIL: Final = 8  # records that wait for a block
SMALL_BLOCK: Final = 64  # records of a block that others are added to, about
BLOCK: Final = 512  # records of one that small ones are put together to, about
_ZLIB: Final = b"x"  # begins what zlib has made, and no JSON
_SLACK: Final = 64  # points that have left a window and are let go of together, at most
MAX_POINTS: Final = 100_000
"""The most points of a window, also with what is inserted: one wrong time must not fill memory."""
_time = itemgetter(0)


@dataclass(frozen=True, slots=True)
class Span:
    """What of a station's records a window has: the last `points` in time, or those of `seconds`; neither: all."""

    points: int | None = None
    seconds: int | None = None


class Row(NamedTuple):
    """A record in a window, without its time, and the number of the segment that holds it."""

    time: int
    segment: int
    record: Record


_Records = Columnar | list[Record]


class _Block:
    """Rows as bytes: `head` has times and segments, `body` the records.

    `low` and `high` are the ends of the segments' numbers. A large block's body is compressed.
    """

    __slots__ = ("body", "first", "head", "high", "last", "low", "points", "rows")

    def __init__(self, times: Sequence[int], segments: Sequence[int], records: _Records, body: bytes = b"") -> None:
        """A block of rows, at least one; `body` are the bytes of the records, where they are known."""
        self.first, self.last = times[0], times[-1]
        self.low, self.high = min(segments), max(segments)
        self.rows, self.points = len(times), len(set(times))
        self.head = _exactly(orjson.dumps([pack_numbers(times), pack_numbers(segments)]))
        self.body = body or _exactly(dumps_marked(pack(records)))
        if self.rows > SMALL_BLOCK and self.body[:1] != _ZLIB:
            # Digits take half of their bytes so, and a tenth of a millisecond more to read.
            self.body = zlib.compress(self.body, 1)

    @classmethod
    def of(cls, rows: Sequence[Row]) -> _Block:
        """Make one of single rows."""
        return cls([row.time for row in rows], [row.segment for row in rows], [row.record for row in rows])

    @property
    def size(self) -> int:
        return len(self.head) + len(self.body)

    def times(self) -> list[int]:
        return unpack_numbers(orjson.loads(self.head)[0])

    def segments(self) -> list[int]:
        return unpack_numbers(orjson.loads(self.head)[1])

    def records(self) -> _Records:
        body = zlib.decompress(self.body) if self.body[:1] == _ZLIB else self.body
        return unpack(loads_marked(body), self.rows)

    def part(self) -> _Part:
        return _Part(self.times(), self.segments(), self.records())

    def unpacked(self) -> list[Row]:
        records = self.records()
        if isinstance(records, Columnar):
            records = records.records(self.rows)
        return [*map(Row, self.times(), self.segments(), records)]

    def without(self, first: int) -> _Block:
        """Return it without the rows before `first`, which are not all."""
        records = self.records()
        rest = records.cut(first) if isinstance(records, Columnar) else records[first:]
        return _Block(self.times()[first:], self.segments()[first:], rest)

    def moved(self, wanted: Container[int], to: int) -> tuple[_Block, list[Row], list[int]]:
        """Return it with `to` in the place of some segments; the rows moved; and the segments of those not wanted."""
        segments = self.segments()
        places = [place for place, segment in enumerate(segments) if segment in wanted]
        if not places:
            return self, [], []
        times, records = self.times(), self.records()
        if self.points < self.rows:
            places = _with_those_behind(places, times)
        found = records.pick(places) if isinstance(records, Columnar) else [records[place] for place in places]
        rows = [Row(times[place], to, record) for place, record in zip(places, found, strict=True)]
        others = [segments[place] for place in places if segments[place] not in wanted]
        for place in places:
            segments[place] = to
        return _Block(times, segments, records, self.body), rows, others


class _Part(NamedTuple):
    """Rows side by side."""

    times: list[int]
    segments: list[int]
    records: _Records


def _together(parts: Sequence[_Part]) -> _Block:
    """Make one block of several parts."""
    records = [part.records for part in parts]
    whole: _Records | None = joined(records)
    if whole is None:
        whole = [*chain.from_iterable([_one_by_one(part.records, len(part.times)) for part in parts])]
    times, segments = ([*chain.from_iterable(some)] for some in zip(*[part[:2] for part in parts], strict=True))
    return _Block(times, segments, whole)


def _one_by_one(records: _Records, count: int) -> list[Record]:
    return records.records(count) if isinstance(records, Columnar) else records


class Content(NamedTuple):
    """What a window gives: the time of each record, ascending, and the records, by field where that is possible."""

    times: list[int]
    records: _Records

    def as_records(self) -> list[Record]:
        """Return the records one by one."""
        records = self.records
        return records.records(len(self.times)) if isinstance(records, Columnar) else records


class Window:
    """The records of one station on one topic.

    Attributes:
        points: points in time that are held, some of which may have left the window.
        size: bytes that the records take.
        marks: how far each partition of the topic has been taken in.
        stamp: the latest of these timestamps; 0.0 where there is none.
        key: of the message that was applied last, where it is everyone's.
        cut: the number of the segment that says that all before it was deleted; None where none does.
    """

    __slots__ = ("_blocks", "_last", "_tail", "cut", "key", "marks", "points", "size", "stamp")

    def __init__(self) -> None:
        self.points = 0
        self.size = 0
        self.marks: Marks = ()
        self.stamp = 0.0
        self.key: bytes | None = None
        self.cut: int | None = None
        self._blocks: list[_Block] = []
        self._tail: list[tuple[int, int, bytes]] = []  # rows, records as bytes
        self._last: int | None = None

    @property
    def newest(self) -> int | None:
        """The latest time."""
        return self._last

    @property
    def rows(self) -> int:
        """The records that are held."""
        return sum([block.rows for block in self._blocks]) + len(self._tail)

    # -- what is in it -------------------------------------------------------------------------------------------------

    def limit(self, span: Span, times: Sequence[int], stamp: float) -> int | None:
        """Return the earliest time that is kept when these are added, by a message of `stamp`; None where all are."""
        if span.points is not None:
            if self.points + len(times) < span.points:
                return None
            # Of these times the later ones push out as many.
            known = {*times}
            for block in reversed(self._blocks):
                if len(known) >= span.points and sorted(known)[-span.points] > block.last:
                    break
                known.update(block.times())
            known.update(map(_time, self._tail))
            return sorted(known)[-span.points] if len(known) >= span.points else None
        if span.seconds is None:
            return None
        ends = [*times, *(() if self._last is None else (self._last,))]
        newest = max(ends, default=None)
        if newest is None:
            return None
        return _kept_from(newest, stamp, span.seconds)

    def at(self, times: Sequence[int]) -> dict[int, list[Record]]:
        """Return the records at these times, ascending, as far as there are some."""
        found: dict[int, list[Record]] = {}
        wanted = {*times}
        for block in self._blocks:
            if any(block.first <= time <= block.last for time in times):
                for row in block.unpacked():
                    if row.time in wanted:
                        found.setdefault(row.time, []).append(row.record)
        for time, _, data in self._tail:
            if time in wanted:
                found.setdefault(time, []).append(loads_marked(data))
        return found

    def content(self, span: Span, until: int | None = None) -> Content:
        """Return the window; with a span of seconds those before `until` (Unix seconds), itself included."""
        times, counts, parts = self._parts(span, until)
        if not times:
            return Content([], [])
        first, end = self._ends(times, span, until)
        whole = joined(parts)
        if whole is not None and end == len(times):
            return Content(times[first:], whole.cut(first))
        each = [
            part.records(count) if isinstance(part, Columnar) else part
            for count, part in zip(counts, parts, strict=True)
        ]
        return Content(times[first:end], [*chain.from_iterable(each)][first:end])

    def _parts(self, span: Span, until: int | None) -> tuple[list[int], list[int], list[_Records]]:
        """Return times, and records by part with their number, of all that the window may reach into."""
        blocks = self._blocks
        if span.seconds is not None and until is not None:
            blocks = [one for one in blocks if one.last > until - span.seconds and one.first <= until]
        times: list[int] = []
        parts: list[_Records] = []
        for block in blocks:
            times += block.times()
            parts.append(block.records())
        counts = [block.rows for block in blocks]
        if self._tail:
            times += map(_time, self._tail)
            waiting = _loaded([data for _, _, data in self._tail])
            parts.append(transposed(waiting) or waiting)
            counts.append(len(waiting))
        return times, counts, parts

    def _ends(self, times: list[int], span: Span, until: int | None) -> tuple[int, int]:
        if span.seconds is not None and until is not None:
            return bisect_left(times, until - span.seconds + 1), bisect_left(times, until + 1)
        if span.points is None or self.points <= span.points:
            return 0, len(times)
        if len(times) == self.points:
            return len(times) - span.points, len(times)
        return bisect_left(times, sorted(set(times))[-span.points]), len(times)

    def copied(self) -> Window:
        """Return a window of the same records, which can be changed by itself."""
        other = copy(self)
        other._blocks, other._tail = [*self._blocks], [*self._tail]
        return other

    # -- changes -------------------------------------------------------------------------------------------------------

    def add(self, rows: Sequence[Row]) -> list[int]:
        """Add records in the order of their times; return the segments' numbers of those that they replace.

        A record replaces those of its time and host.
        """
        last = self._last
        if len(rows) == 1 and (last is None or rows[0].time > last):
            self._append(*rows[0])
            return []
        first_new = 0 if last is None else bisect_left(rows, last + 1, key=_time)
        replaced = self._put(rows[:first_new]) if first_new else []
        for row in rows[first_new:]:
            self._append(*row)
        return replaced

    def extend(self, times: list[int], segment: int, records: Columnar | list[Record]) -> list[int]:
        """Add records of one segment, by field or one by one, with their times, ascending; see `add`."""
        last = self._last
        if len(times) < TAIL or (last is not None and times[0] <= last):
            rows = map(Row, times, repeat(segment), _one_by_one(records, len(times)))
            return self.add([*rows])
        if self._tail:
            self._pack()
        points = self.points + len(set(times))
        self._add_part(_Part(times, [segment] * len(times), records))
        self.points, self._last = points, times[-1]
        return []

    def _append(self, time: int, segment: int, record: Record) -> None:
        """Add a record behind all others, or beside the last."""
        if time != self._last:
            if len(self._tail) >= TAIL:  # all records of these times are there, or are put among them
                self._pack()
            self.points += 1
            self._last = time
        data = _exactly(dumps_marked(record))
        self._tail.append((time, segment, data))
        self.size += len(data)

    def _put(self, rows: Sequence[Row]) -> list[int]:
        """Put rows between others."""
        replaced: list[int] = []
        start = 0
        for index, block in enumerate(self._blocks):
            end = bisect_left(rows, block.last + 1, key=_time, lo=start)
            if end > start:
                merged, gone = _merged(block.unpacked(), rows[start:end])
                replaced += gone
                half = len(merged) // 2
                fits = len(merged) <= 2 * BLOCK or merged[half - 1].time == merged[half].time
                parts = [merged] if fits else [merged[:half], merged[half:]]
                self._replace(index, index + 1, [*map(_Block.of, parts)])
                start = end
        if start < len(rows):
            waiting = self._waiting()
            merged, gone = _merged(waiting, rows[start:])
            self._wait(merged)
            replaced += gone
        return replaced

    def _waiting(self) -> list[Row]:
        records = _loaded([data for _, _, data in self._tail])
        return [Row(time, segment, record) for (time, segment, _), record in zip(self._tail, records, strict=True)]

    def _wait(self, rows: Sequence[Row]) -> None:
        """Let these rows be those that wait."""
        self.points += len({row.time for row in rows}) - len({*map(_time, self._tail)})
        self.size -= sum([len(data) for _, _, data in self._tail])
        self._tail = [(row.time, row.segment, _exactly(dumps_marked(row.record))) for row in rows]
        self.size += sum([len(data) for _, _, data in self._tail])

    def _replace(self, first: int, end: int, new: Sequence[_Block]) -> None:
        """Put blocks in the place of others."""
        old = self._blocks[first:end]
        self._blocks[first:end] = new
        self.size += sum([block.size for block in new]) - sum([block.size for block in old])
        self.points += sum([block.points for block in new]) - sum([block.points for block in old])

    def _pack(self) -> None:
        """Make a block of what waits, or add it to the last one; of many small blocks make a large one."""
        waiting = _loaded([data for _, _, data in self._tail])
        new = _Part(
            [time for time, _, _ in self._tail],
            [segment for _, segment, _ in self._tail],
            transposed(waiting) or waiting,
        )
        self.size -= sum([len(data) for _, _, data in self._tail])
        self._tail = []
        points = self.points  # they are the same ones
        self._add_part(new)
        self.points = points

    def _add_part(self, new: _Part) -> None:
        """Add rows that are later than all of the blocks to these."""
        first = end = len(self._blocks)
        while first and self._blocks[first - 1].rows <= SMALL_BLOCK:
            first -= 1
        small = self._blocks[first:]
        if small and small[-1].rows + len(new.times) <= SMALL_BLOCK:
            self._replace(end - 1, end, [_together([small[-1].part(), new])])
        elif sum([block.rows for block in small]) + SMALL_BLOCK > BLOCK:
            self._replace(first, end, [_together([block.part() for block in small]), _Block(*new)])
        else:
            self._replace(end, end, [_Block(*new)])

    def trim(self, span: Span) -> list[int]:
        """Let go of records that have left the window; return the numbers of their segments.

        They are let go of some at a time: to take one out of a block is to write the block anew.
        """
        if span.points is not None:
            if self.points <= span.points + 1 + _slack(span):
                return []
            return self.drop_before(self._time_from_the_end(span.points))
        if span.seconds is None or self._last is None:
            return []
        first = self._blocks[0].first if self._blocks else self._tail[0][0]
        after = _kept_from(self._last, self.stamp, span.seconds)
        return self.drop_before(after) if first + 1 + _slack(span) < after else []

    def _time_from_the_end(self, points: int) -> int:
        """Return the time of so many points from the end on; there are more."""
        drop = self.points - points
        for block in self._blocks:
            if drop < block.points:
                return sorted(set(block.times()))[drop]
            drop -= block.points
        return sorted({time for time, _, _ in self._tail})[drop]

    def drop_before(self, before: int) -> list[int]:
        """Let go of what is before a time (Unix seconds); return the numbers of its segments."""
        gone: list[int] = []
        while self._blocks and self._blocks[0].first < before:
            block = self._blocks[0]
            keep = block.rows if block.last < before else bisect_left(block.times(), before)
            gone += block.segments()[:keep]
            self._replace(0, 1, [block.without(keep)] if keep < block.rows else [])
        keep = bisect_left(self._tail, before, key=_time)
        if keep:
            gone += [segment for _, segment, _ in self._tail[:keep]]
            self._wait(self._waiting()[keep:])
        return gone

    def clear(self) -> list[int]:
        """Let go of all records; return the numbers of their segments."""
        gone = [segment for block in self._blocks for segment in block.segments()]
        gone += [segment for _, segment, _ in self._tail]
        self._blocks, self._tail, self._last = [], [], None
        self.points = self.size = 0
        return gone

    def move(self, segments: Container[int], ends: tuple[int, int], to: int) -> tuple[list[Row], list[int]]:
        """Give the records of some segments, whose numbers lie between these ends, the number `to`, the highest.

        Those that stand behind them at the same time go with them: read back, what is in `to` comes last, and the order
        at a time, by which a model's input is made, has to be the same. So along a time the numbers never fall.

        Returns:
            The records moved, and of those that only went with them the segments' numbers.
        """
        moved: list[Row] = []
        others: list[int] = []
        for index, block in enumerate(self._blocks):
            if block.low <= ends[1] and block.high >= ends[0]:
                new, rows, along = block.moved(segments, to)
                if rows:
                    self._replace(index, index + 1, [new])
                    moved += rows
                    others += along
        places = [place for place, (_, segment, _) in enumerate(self._tail) if segment in segments]
        if places:
            waiting = self._waiting()
            for place in _with_those_behind(places, [row.time for row in waiting]):
                row = waiting[place]
                if row.segment not in segments:
                    others.append(row.segment)
                waiting[place] = row._replace(segment=to)
            self._wait(waiting)
            moved += [row for row in waiting if row.segment == to]
        return moved, others


def _slack(span: Span) -> int:
    """Return how many points, or seconds, may have left a window before they are let go of."""
    if span.points is not None:
        return min(_SLACK, max(TAIL, span.points // 16))
    return (span.seconds or 0) // 32


def _kept_from(newest: int, stamp: float, seconds: int) -> int:
    """Return the earliest time that a window of seconds keeps: for twice its length.

    A batch that comes late finds its window then. What is told of the future must not push out the present.
    """
    return (min(newest, int(stamp)) if stamp > 0 else newest) - 2 * seconds + 1


def host_of(record: Record) -> str | None:
    """Return the host that a record is from; guns are told apart by it, too."""
    host = record.get("hostCode")
    return None if host is None else str(host)


def _merged(rows: Sequence[Row], new: Sequence[Row]) -> tuple[list[Row], list[int]]:
    """Return rows with new ones among them, and the segments' numbers of those that these replace."""
    by_time: dict[int, list[Row]] = {time: [*group] for time, group in groupby(rows, _time)}
    gone: list[int] = []
    for time, group in groupby(new, _time):
        added = [*group]
        hosts = {host_of(row.record) for row in added}
        before = by_time.get(time, [])
        gone += [row.segment for row in before if host_of(row.record) in hosts]
        by_time[time] = [*(row for row in before if host_of(row.record) not in hosts), *added]
    return [row for time in sorted(by_time) for row in by_time[time]], gone


def _with_those_behind(places: Sequence[int], times: Sequence[int]) -> list[int]:
    """Return the places of rows, ascending, and of the rows behind each that have its time."""
    found: list[int] = []
    for first, after in zip(places, [*places[1:], len(times)], strict=True):
        end = first + 1
        while end < after and times[end] == times[first]:
            end += 1
        found += range(first, end)
    return found


def _loaded(waiting: Sequence[bytes]) -> list[Any]:
    if any(data.startswith(MARK) for data in waiting):
        return [*map(loads_marked, waiting)]
    loaded: list[Any] = orjson.loads(b"[%b]" % b",".join(waiting))
    return loaded


def _exactly(value: bytes) -> bytes:
    """Copy bytes into memory of their own length: orjson returns them in a buffer of up to eight times that."""
    return bytes(memoryview(value))
