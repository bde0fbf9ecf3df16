"""Windows of context: what is known of stations over a stretch of time, and the segments that keep it. Pure.

The changelog of the table `context` is the log of a partition's windows. What one frame brings, of however many
stations, is one *segment*, written once whatever the size of the windows:

    :<owner>.<number>   {"v": 1, "groups": [[topic, [[partition, offset, timestamp]], key,
                                             [[station id, times, records], ...]], ...]}

`:` can't begin a topic's name, so that no key of a newest record (`tables.context`) looks like it. A station's times
are None where a tombstone has deleted all that stands before. The windows in memory are the segments put together, in
the order of the log, with what has left a window taken out. A segment of which nothing is in any window is deleted.
Two kinds are written a second time, in a segment of their own with others: small ones, 64 together, and large ones of
which less than a quarter is left. Other hosts' records of the same station and time go along where they came later, so
that their order is the same when they are read back. So each record is written at most a small number of times, and
what stands in the changelog is at most about four times what the windows hold.

Nothing is applied twice. A message whose place lies before the latest one that a window has of its partition is a
repeat: a rewind, or an earlier worker's. What a message says anew that is there already is not written. A place that
stands twice is that of the next message, not the latest: all before it were deleted. It is in each segment with records
that came after the deletion, because without it the deletion would be done again, and they would be repeats.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from typing import Final

from tables.context import EVERYONE, ContextEvent, ContextUpdate, Entry, MessageRecords, Place, Record, Tombstone
from tables.storage.exact_json import dumps
from tables.storage.marks import Mark, Marks, all_deleted, is_repeat, marked
from tables.storage.packing import pack
from tables.storage.records import Table, UnreadableRecordError, Write
from tables.storage.window import Row, Span, Window, host_of
from tables.window_segments import Owner, SegmentWriter, decode_segment, owner_in, segment_key

TIME_FIELDS: Final = frozenset({"sendTime", "send_time", "timestamp"})
"""The fields of a record that may hold its time, which a window keeps by itself."""

SMALL: Final = 64  # records of a segment that is packed with others, and such segments that are packed together
_LEFT: Final = 4  # of so many records of a segment, one at most is in a window: then it is written anew
_SPARSE: Final = 512  # records of such segments, at least, before a pass is worth it
_SEGMENT_BYTES: Final = 512 * 1024  # of one that is written anew, about

_DELETED: Final = 4096  # stations of which nothing is left that are known as deleted, in some 2 MB

_ALL: Final = Span()


def _about(event: ContextEvent) -> tuple[type, str, str, Place]:
    return type(event), event.topic, event.station_id or "", event.place


@dataclass(slots=True)
class _Segment:
    """A segment of records: its key, how many they are, and how many of them are in a window."""

    key: bytes
    total: int = 0
    live: int = 0
    owners: tuple[Owner, ...] = ()  # the windows that it may be in; only of small ones


@dataclass(frozen=True, slots=True)
class Refused:
    """Records of a message that would make a window larger than it may be; `size` is the bytes that it would have."""

    updates: Sequence[ContextUpdate]
    size: int


@dataclass(slots=True)
class Changes:
    """What events have changed.

    Attributes:
        writes: to be stored, in this order.
        refused: what was not taken in.
        too_old: by topic, how many records are older than their window.
    """

    writes: list[Write] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    too_old: Counter[str] = field(default_factory=Counter)


class Windows:
    """The windows of a partition.

    Attributes:
        unreadable: why a segment can't be read; nothing may be made of windows then.
        unsettled: what has been changed here, and is not known to be stored.
        owes: what is unsettled has been dropped on its way, and is to be written again.
    """

    def __init__(self, spans: Mapping[str, Span], most: int) -> None:
        """No windows; `spans` are those of the topics that have some, `most` the bytes that one may have."""
        self.unreadable: UnreadableRecordError | None = None
        self.unsettled: dict[bytes, bytes | None] = {}
        self.owes = False
        self._spans = spans
        self._most = most
        self._windows: dict[Owner, Window] = {}
        self._segments: dict[int, _Segment] = {}
        self._numbers: dict[bytes, int] = {}
        self._next = 0
        self._dead: dict[int, None] = {}
        self._small: dict[int, None] = {}
        self._sparse: dict[int, None] = {}
        self._cuts: dict[int, tuple[bytes, Owner]] = {}
        self._deleted: dict[Owner, Marks] = {}
        self._owner = 0
        self._last_owner = 0  # of the segments that were read

    def __len__(self) -> int:
        return len(self._windows)

    def window(self, topic: str, station_id: str) -> Window | None:
        """Return the window of a station; None where nothing is in it."""
        window = self._windows.get((topic, station_id))
        return window if window is not None and window.points else None

    def items(self) -> Iterable[tuple[Owner, Window]]:
        """Return all windows, by topic and station id."""
        return self._windows.items()

    # -- read from the log ---------------------------------------------------------------------------------------------

    def write(self, key: bytes, value: bytes | None) -> None:
        """Take a segment of the log in, or that it is deleted. One that is known already changes nothing."""
        if value is None:
            self._forget(key)
        elif key not in self._numbers and self.unreadable is None:
            try:
                self._load(key, value)
            except UnreadableRecordError as error:
                self.unreadable = error

    def _forget(self, key: bytes) -> None:
        number = self._numbers.pop(key, None)
        if number is not None:
            if number in self._cuts:
                self._uncut(self._cuts[number][1], number)
            for numbers in (self._segments, self._cuts, self._dead, self._small, self._sparse):
                numbers.pop(number, None)

    def _load(self, key: bytes, value: bytes) -> None:
        parts = decode_segment(key, value)
        self._last_owner = max(self._last_owner, owner_in(key))
        number = self._begin(key)
        for owner, marks, message_key, times, records in parts:
            window = self._windows.get(owner)
            if window is None:
                window = self._windows[owner] = Window()
                window.marks = self._deleted.pop(owner, ())
            if times is None:  # it stands alone in its segment
                self._forget(key)
                self._clear(owner, window, key)
                _mark(window, marks, None)
                return
            if window.cut is None or not _are_before(marks, window):
                self._count(owner, number, len(times))
                self._release(window.extend(times, number, records))
            _mark(window, marks, message_key)
            self._trim(owner, window)
        self._end(number)

    # -- applied -------------------------------------------------------------------------------------------------------

    def apply(self, events: Sequence[ContextEvent], now: float) -> Changes:
        """Take in what a frame brings; what is returned is to be stored.

        Args:
            events: of topics that have windows, in their order.
            now: Unix seconds; they tell the segments of one owner from those of another.
        """
        if not self._owner:
            self._owner = max(int(now * 1e6), self._last_owner + 1)
        changes = Changes()
        segment = SegmentWriter(self._begin(self._key()))
        for (kind, *_), group in groupby(events, _about):
            if kind is Tombstone:
                for cut in [write for event in group if isinstance(event, Tombstone) for write in self._delete(event)]:
                    # What came before it has to stand before it.
                    self._store(segment, changes)
                    changes.writes.append(cut)
                    segment = SegmentWriter(self._begin(self._key()))
            else:
                updates = [event for event in group if isinstance(event, ContextUpdate)]
                self._update(updates, segment, changes)
        self._store(segment, changes)
        if len(self._small) >= SMALL:
            self._write_anew([*self._small], changes)
        sparse = sum([self._segments[number].total for number in self._sparse])
        if sparse >= max(_SPARSE, len(self._windows)):
            self._write_anew([*self._sparse], changes)
        changes.writes += [Write(Table.CONTEXT, key, None) for key in self._unneeded()]
        for write in changes.writes:
            self.unsettled.pop(write.key, None)  # so that it stands at the end
            self.unsettled[write.key] = write.value
        if self.owes:
            self.owes = False
            changes.writes = [Write(Table.CONTEXT, key, value) for key, value in self.unsettled.items()]
        return changes

    def settled(self, writes: Iterable[Write]) -> None:
        """Note that these are stored."""
        for write in writes:
            if write.key in self.unsettled and self.unsettled[write.key] is write.value:
                del self.unsettled[write.key]

    def _update(self, updates: Sequence[ContextUpdate], segment: SegmentWriter, changes: Changes) -> None:
        """Take in the records of a station, or of everyone, in a message."""
        place, owner = updates[0].place, (updates[0].topic, updates[0].station_id)
        message = Mark(*place)
        window = self._windows.get(owner)
        if window is None:
            window = Window()
            window.marks = self._deleted.get(owner, ())
        if is_repeat(message, window.marks):
            return
        span = self._spans.get(owner[0], _ALL)
        rows, too_old = _fresh(window, span, place, updates, segment.number)
        if too_old:
            changes.too_old[owner[0]] += too_old
        if not rows:
            # If it comes again, behind a deletion, it is a repeat like what the deletion has found.
            _mark(window, [message], window.key)
            return
        times, records = [row.time for row in rows], [row.record for row in rows]
        packed = pack(records)
        size = len(dumps(packed))
        if window.size + size > self._most:
            earliest = window.limit(span, times, max(window.stamp, place.timestamp))
            after = _size_after(window, rows, earliest, size)
            if after > self._most:
                changes.refused.append(Refused(updates, after))
                _mark(window, [message], window.key)
                return
            if earliest is not None:
                self._release(window.drop_before(earliest))
        self._windows[owner] = window
        self._deleted.pop(owner, None)
        self._put(owner, window, rows)
        _mark(window, [message], updates[-1].key if owner[1] == EVERYONE else None)
        self._trim(owner, window)
        marks = [message]
        if len(window.marks) > 1:
            marks += [mark for mark in window.marks if not mark.seen]
        segment.add(owner, marks, window.key, times, packed)

    def _delete(self, tombstone: Tombstone) -> list[Write]:
        """Delete a station's window, and everyone's if that came with the same key."""
        writes: list[Write] = []
        message = Mark(*tombstone.place)
        for station_id in (EVERYONE, tombstone.station_id):
            owner = (tombstone.topic, station_id or EVERYONE)
            window = self._windows.get(owner)
            if station_id is None:
                continue
            if window is None:
                if station_id != EVERYONE:  # whose messages of one key come from one partition
                    self._remember(owner, marked(self._deleted.get(owner, ()), [message]))
                continue
            if is_repeat(message, window.marks):
                continue
            if station_id == EVERYONE and window.key != tombstone.key:
                continue
            key = self._key()
            self._clear(owner, window, key)
            _mark(window, [message], None)
            # What was deleted is to be known as a repeat if it comes again, the last message of each partition too.
            window.marks = all_deleted(window.marks)
            cut = SegmentWriter(self._next - 1)
            cut.add_cut(owner, window.marks)
            writes.append(Write(Table.CONTEXT, key, cut.encoded()))
        return writes

    # -- segments ------------------------------------------------------------------------------------------------------

    def _key(self) -> bytes:
        return segment_key(self._owner, self._next)

    def _begin(self, key: bytes) -> int:
        number = self._next
        self._next += 1
        self._segments[number] = _Segment(key)
        self._numbers[key] = number
        return number

    def _end(self, number: int) -> None:
        """Note what has become of a segment that is there as a whole."""
        segment = self._segments[number]
        if segment.live == 0:
            self._dead[number] = None
        elif segment.total < SMALL:
            self._small[number] = None
        else:
            segment.owners = ()
            if segment.live * _LEFT <= segment.total:
                self._sparse[number] = None

    def _put(self, owner: Owner, window: Window, rows: Sequence[Row]) -> None:
        """Put records of one segment into a window."""
        self._count(owner, rows[0].segment, len(rows))
        self._release(window.add(rows))

    def _count(self, owner: Owner, number: int, records: int) -> None:
        """Note that a segment has so many records more, which are in a window."""
        segment = self._segments[number]
        if segment.live == 0 and segment.total:
            self._dead.pop(number, None)  # all of it had left a window at once, but here is more of it
        segment.total += records
        segment.live += records
        if segment.total < SMALL:
            segment.owners = (*segment.owners, owner)

    def _clear(self, owner: Owner, window: Window, key: bytes) -> None:
        """Delete all that is in a window, as the segment of that key says, which stands alone."""
        self._release(window.clear())
        if window.cut is not None:
            self._dead[window.cut] = None
        window.cut = self._next
        self._next += 1
        self._numbers[key] = window.cut
        self._cuts[window.cut] = (key, owner)

    def _uncut(self, owner: Owner, number: int) -> None:
        """Forget a deletion."""
        window = self._windows.get(owner)
        if window is not None and window.cut == number:
            window.cut = None
            if not window.points:
                del self._windows[owner]
                self._remember(owner, window.marks)

    def _remember(self, owner: Owner, marks: Marks) -> None:
        """Keep the marks of a window of which nothing is left: its next segment will say what has been deleted."""
        self._deleted.pop(owner, None)
        self._deleted[owner] = all_deleted(marks)
        if len(self._deleted) > _DELETED:
            del self._deleted[next(iter(self._deleted))]

    def _unneeded(self) -> list[bytes]:
        """Return the keys of segments that can be deleted.

        Those that say what was deleted are needed as long as one stands before them.
        """
        oldest = next((number for number in self._segments if number not in self._dead), self._next)
        for number, (_, owner) in self._cuts.items():
            if number > oldest:
                break
            self._dead[number] = None
            self._uncut(owner, number)
        return [self._segments[one].key if one in self._segments else self._cuts[one][0] for one in self._dead]

    def _trim(self, owner: Owner, window: Window) -> None:
        gone = window.trim(self._spans.get(owner[0], _ALL))
        if gone:
            self._release(gone)

    def _release(self, numbers: Iterable[int]) -> None:
        """Note that records of these segments are in no window any more."""
        for number in numbers:
            segment = self._segments.get(number)
            if segment is None:
                continue
            segment.live -= 1
            if segment.live <= 0:
                self._small.pop(number, None)
                self._sparse.pop(number, None)
                self._dead[number] = None
            elif segment.total >= SMALL and segment.live * _LEFT <= segment.total:
                self._sparse[number] = None

    def _store(self, segment: SegmentWriter, changes: Changes) -> None:
        """Write a segment, if there is something in it."""
        number = segment.number
        if not segment:
            self._forget(self._segments[number].key)
            return
        changes.writes.append(Write(Table.CONTEXT, self._segments[number].key, segment.encoded()))
        self._end(number)

    def _write_anew(self, numbers: Sequence[int], changes: Changes) -> None:
        """Write what is left of some segments into new ones; these are dead then."""
        owners: Iterable[Owner] = self._windows
        if all(self._segments[number].total < SMALL for number in numbers):
            owners = dict.fromkeys(owner for number in numbers for owner in self._segments[number].owners)
        wanted, ends = frozenset(numbers), (min(numbers), max(numbers))
        segment = SegmentWriter(self._begin(self._key()))
        for owner in [*owners]:
            window = self._windows.get(owner)
            if window is None:
                continue
            moved, others = window.move(wanted, ends, segment.number)
            if not moved:
                continue
            self._release(others)
            to = self._segments[segment.number]
            to.total += len(moved)
            to.live += len(moved)
            if to.total < SMALL:
                to.owners = (*to.owners, owner)
            times, records = [row.time for row in moved], [row.record for row in moved]
            segment.add(owner, window.marks, window.key, times, pack(records))
            if segment.size > _SEGMENT_BYTES:
                self._store(segment, changes)
                segment = SegmentWriter(self._begin(self._key()))
        self._store(segment, changes)
        for number in numbers:  # whatever else was in them is in no window
            self._segments[number].live = 0
            self._small.pop(number, None)
            self._sparse.pop(number, None)
            self._dead[number] = None

    # -- as a newest record --------------------------------------------------------------------------------------------

    def newest(self, topic: str, station_id: str) -> Entry | None:
        """Return the newest point of a window as what a topic without windows keeps."""
        window = self.window(topic, station_id)
        if window is None or window.newest is None:
            return None
        time = window.newest
        latest = max(window.marks, key=attrgetter("timestamp"))
        records = [{"sendTime": time, **record} for record in window.at([time])[time]]
        return Entry(time, window.key, [MessageRecords(Place(*latest[:3]), records)])


def _fresh(
    window: Window, span: Span, place: Place, updates: Sequence[ContextUpdate], segment: int
) -> tuple[list[Row], int]:
    """Return the records that a window has not, in the order of their times; and how many are too old for it.

    A record without a time has that of its message.
    """
    rows = [
        Row(time, segment, _without_time(record))
        for update in updates
        for time in [int(place.timestamp) if update.time is None else update.time]
        for record in update.records
    ]
    rows.sort(key=_row_time)
    newest = window.newest
    many = span.points is not None and len(rows) > span.points
    late = newest is not None and rows[0].time <= newest
    if not (many or late or span.seconds is not None):
        return rows, 0
    times = [*dict.fromkeys(row.time for row in rows)]
    earliest = window.limit(span, times, max(window.stamp, place.timestamp))
    kept = rows if earliest is None else [row for row in rows if row.time >= earliest]
    too_old = len(rows) - len(kept)
    if late and kept:
        known = window.at([time for time in times if newest is not None and time <= newest])
        if known:
            kept = [row for time, group in groupby(kept, _row_time) for row in _news([*group], known.get(time, ()))]
    return kept, too_old


def _size_after(window: Window, rows: Sequence[Row], earliest: int | None, size: int) -> int:
    """Return the bytes of a window that lets go of what is before `earliest`, and takes in rows of `size` bytes.

    What they replace goes too. Tried on a copy: what is refused must leave the window as it was.
    """
    tried = window.copied()
    if earliest is not None:
        tried.drop_before(earliest)
    added = tried.size + size
    tried.add(rows)
    return min(added, tried.size)


_row_time = attrgetter("time")


def _news(rows: Sequence[Row], known: Sequence[Record]) -> Sequence[Row]:
    """Return rows of one time, without those that are known as they are."""
    hosts = {host_of(row.record) for row in rows}
    before = [record for record in known if host_of(record) in hosts]
    records = [row.record for row in rows]
    return () if before == records and dumps(before) == dumps(records) else rows


def _without_time(record: Record) -> Record:
    return {name: value for name, value in record.items() if name not in TIME_FIELDS}


def _are_before(marks: Sequence[Mark], window: Window) -> bool:
    """Return whether messages with these marks stand before the deletion that a window remembers."""
    seen = [mark for mark in marks if mark.seen]
    return all(is_repeat(mark, window.marks) for mark in seen or marks)


def _mark(window: Window, marks: Sequence[Mark], key: bytes | None) -> None:
    """Note what was applied, and the key that it came with."""
    window.key = key
    window.marks = marked(window.marks, marks)
    for mark in marks:
        window.stamp = max(window.stamp, mark.timestamp)
