"""Windows of context: what is in them, what is written of it, and what a worker finds that comes after another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tables.windows
from tables.context import EVERYONE, ContextEvent, ContextUpdate, Place, Record, Tombstone
from tables.storage import window as storage
from tables.storage.marks import Mark
from tables.storage.records import Table, Write
from tables.storage.window import Span
from tables.window_segments import SegmentWriter
from tables.windows import SMALL, Windows
from tests.examples import examples

METER = "METER"
OTHER = "OTHER"
MOST = 10_000_000
START = 1_763_085_600


class Log:
    """The windows of a partition and their changelog."""

    def __init__(self, span: Span | None = None, most: int = MOST) -> None:
        self.spans = {METER: span or Span(points=5), OTHER: Span(points=2)}
        self.most = most
        self.log: list[Write] = []
        self.now = 1.0
        self.windows = Windows(self.spans, most)
        self.too_old = 0
        self.refused: list[int] = []

    def apply(self, *events: ContextEvent) -> Log:
        """Apply the events of a frame, and store what comes of it."""
        changes = self.windows.apply(events, now=self.now)
        for write in changes.writes:
            self.windows.write(write.key, write.value)
        self.windows.settled(changes.writes)
        self.log += changes.writes
        self.too_old += sum(changes.too_old.values())
        self.refused += [one.size for one in changes.refused]
        return self

    def recovered(self, *, compacted: bool = False) -> Log:
        """Another worker, which has read the log."""
        other = Log(self.spans[METER], self.most)
        other.log = self.compacted() if compacted else [*self.log]
        other.now = self.now + 1.0
        for write in other.log:
            other.windows.write(write.key, write.value)
        assert other.windows.unreadable is None
        return other

    def compacted(self) -> list[Write]:
        """What Kafka's compaction leaves."""
        last = {write.key: place for place, write in enumerate(self.log)}
        return [write for place, write in enumerate(self.log) if last[write.key] == place and write.value is not None]

    def of(self, station: str = "A", topic: str = METER) -> list[Any]:
        """Times and records in the window of a station."""
        window = self.windows.window(topic, station)
        if window is None:
            return []
        content = window.content(self.spans[topic], window.newest)
        return [*zip(content.times, content.as_records(), strict=True)]

    def numbers(self, station: str = "A") -> list[Any]:
        """The numbers in the window of a station."""
        return [record["n"] for _, record in self.of(station)]


def place(offset: int, partition: int = 0, timestamp: float | None = None) -> Place:
    return Place(partition, offset, START + offset if timestamp is None else timestamp)


def update(offset: int, time: int | None, *records: Record, station: str = "A", **options: Any) -> ContextUpdate:
    topic, key = options.pop("topic", METER), options.pop("key", None)
    return ContextUpdate(topic, place(offset, **options), key, station, time, records)


def point(offset: int, time: int, station: str = "A", **options: Any) -> ContextUpdate:
    """A point whose record is its offset."""
    return update(offset, time, {"n": offset}, station=station, **options)


def deletion(offset: int, station: str | None = "A", key: bytes = b"A", **options: Any) -> Tombstone:
    return Tombstone(options.pop("topic", METER), place(offset, **options), key, station)


def test_the_last_points_in_time_are_kept_in_whatever_order_they_come() -> None:
    log = Log()
    for offset, time in enumerate([10, 50, 20, 40, 30]):
        log.apply(point(offset, time))
    assert log.numbers() == [0, 2, 4, 3, 1]
    log.apply(point(5, 60))
    assert log.numbers() == [2, 4, 3, 1, 5]
    assert log.too_old == 0
    log.apply(point(6, 15))
    assert (log.numbers(), log.too_old) == ([2, 4, 3, 1, 5], 1)
    log.apply(point(7, 25))
    assert (log.numbers(), log.too_old) == ([7, 4, 3, 1, 5], 1)


def test_the_same_time_again_is_replaced_host_by_host() -> None:
    log = Log()
    log.apply(update(0, 10, {"hostCode": "h1", "n": 1}, {"hostCode": "h2", "n": 2}), point(1, 20))
    log.apply(update(2, 10, {"hostCode": "h1", "n": 3}))
    assert log.of()[:2] == [(10, {"hostCode": "h2", "n": 2}), (10, {"hostCode": "h1", "n": 3})]
    assert log.recovered(compacted=True).of() == log.of()


def test_the_hosts_of_a_time_keep_their_order_when_the_segment_of_an_earlier_one_is_packed_again() -> None:
    log = Log()
    log.apply(update(0, 10, {"hostCode": "h1", "n": 0}))
    large = [point(1, 10, f"L{number}") for number in range(SMALL)]  # its segment is not packed with others
    log.apply(update(1, 10, {"hostCode": "h2", "n": 1}), *large)
    for offset in range(2, 2 + SMALL):
        log.apply(point(offset, 10, f"S{offset}"))
    assert log.numbers() == [0, 1]
    assert log.recovered().numbers() == log.recovered(compacted=True).numbers() == [0, 1]


def test_points_are_counted_as_times_however_many_hosts_they_have() -> None:
    log = Log()
    for offset in range(12):
        log.apply(update(offset, offset, *({"hostCode": f"h{host}", "n": offset} for host in range(3))))
    assert log.numbers() == [number for number in range(7, 12) for _ in range(3)]


def test_a_window_of_seconds_ends_with_its_newest_point() -> None:
    log = Log(Span(seconds=100))
    for offset, time in enumerate(range(0, 1000, 10)):
        log.apply(point(offset, time, timestamp=5000.0))
    window = log.windows.window(METER, "A")
    assert window is not None
    assert window.content(Span(seconds=100), 990).times == [*range(900, 1000, 10)]
    assert window.content(Span(seconds=100), 975).times == [*range(880, 980, 10)]
    assert log.apply(point(100, 791)).too_old == 0
    assert log.apply(point(101, 790)).too_old == 1


def test_forecasts_do_not_push_the_present_out_of_a_window_of_seconds() -> None:
    log = Log(Span(seconds=3600))
    for hour in range(48):
        log.apply(point(hour, START + 3600 * hour + 1, timestamp=START + 10.0))
    window = log.windows.window(METER, "A")
    assert window is not None
    assert window.content(Span(seconds=3600), START + 100).times == [START + 1]
    assert log.too_old == 0


def test_a_record_without_a_time_has_that_of_its_message() -> None:
    assert Log().apply(update(3, None, {"n": 1})).of() == [(START + 3, {"n": 1})]


def test_the_fields_of_a_time_are_not_kept_twice() -> None:
    log = Log().apply(update(0, 10, {"stationId": "A", "sendTime": "x", "send_time": "y", "timestamp": 1, "n": 1}))
    assert log.of() == [(10, {"stationId": "A", "n": 1})]


def test_a_tombstone_deletes_what_stands_before_it_for_good() -> None:
    log = Log().apply(point(0, 10), point(1, 20, "B")).apply(deletion(2))
    assert (log.of(), log.numbers("B")) == ([], [1])
    log.apply(point(3, 5))
    for one in (log, log.recovered(), log.recovered(compacted=True)):
        assert (one.numbers(), one.numbers("B")) == ([3], [1])
        one.apply(point(0, 10), point(1, 20, "B"), deletion(2), point(3, 5))  # all of it again
        assert (one.numbers(), one.numbers("B")) == ([3], [1])


def test_updates_around_a_tombstone_in_one_frame_keep_their_order() -> None:
    log = Log().apply(point(0, 10), deletion(1), point(2, 9))
    assert log.numbers() == log.recovered().numbers() == [2]


@pytest.mark.parametrize("tombstones", [1, 2, 3])
def test_tombstones_of_one_partition_make_no_repeats_of_what_comes_from_another(tombstones: int) -> None:
    log = Log().apply(point(0, 10, "B")).apply(point(0, 10, partition=1, timestamp=START))
    for offset in range(tombstones):
        log.apply(deletion(1 + offset, timestamp=START))
    for one in (log, log.recovered(), log.recovered(compacted=True)):
        assert one.apply(point(0, 10, partition=1, timestamp=START)).numbers() == []  # it has been deleted
        assert one.apply(point(1, 20, partition=1, timestamp=START)).numbers() == [1]


def test_a_message_that_is_still_to_come_is_no_repeat_after_segments_were_packed_and_read_back() -> None:
    log = Log().apply(point(0, 10, partition=1, timestamp=START), point(0, 10, "B")).apply(deletion(1))
    log.apply(point(2, 30))
    for offset in range(3, 3 + SMALL):
        log.apply(point(offset, offset, f"S{offset}"))
    assert len(log.compacted()) < SMALL // 2
    for one in (log.recovered(), log.recovered(compacted=True), log):
        one.apply(deletion(1000))
        assert one.apply(point(0, 10, partition=1, timestamp=START)).numbers() == []
        assert one.apply(point(1, 20, partition=1, timestamp=START)).numbers() == [1]


def test_what_changed_nothing_before_a_deletion_is_not_taken_in_after_it() -> None:
    log = Log(Span(points=1), most=700).apply(point(0, 0, "B"))
    first = point(0, 20, partition=1)
    log.apply(first)
    for nothing in (
        point(1, 10, partition=1),  # too old
        update(1, 20, {"n": 0}, partition=1),  # there already
        update(1, 30, {"n": sha256(b"").hexdigest() * 20}, partition=1),  # too large
    ):
        other = log.recovered()
        other.apply(nothing).apply(deletion(1))
        for one in (other, other.recovered(), other.recovered(compacted=True)):
            assert one.apply(first).apply(nothing).apply(deletion(1)).numbers() == []


@pytest.mark.parametrize("before", [[], [point(0, 10, partition=1)]], ids=["nothing", "a point"])
def test_a_deletion_that_comes_again_deletes_nothing_that_came_after_it(before: list[ContextEvent]) -> None:
    log = Log().apply(*before).apply(deletion(0))
    assert log.compacted() == []
    after = [point(1 + number, 100 + number, partition=1) for number in range(40)]
    for number, event in enumerate(after):
        log.apply(event)
        expected = [*range(max(1, number - 3), number + 2)]
        for one in (log.recovered(), log.recovered(compacted=True)):
            one.apply(*before, deletion(0), *after[: number + 1])
            assert one.numbers() == expected


def test_of_so_many_stations_without_records_it_is_known_that_they_were_deleted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tables.windows, "_DELETED", 3)
    log = Log().apply(*[deletion(number, f"S{number}") for number in range(10)])
    assert (len(log.windows), log.log) == (0, [])
    assert [*log.windows._deleted] == [(METER, f"S{number}") for number in (7, 8, 9)]
    log.apply(point(0, 10, "S9", partition=1))
    assert [*log.windows._deleted] == [(METER, "S7"), (METER, "S8")]


def test_what_is_everyones_is_deleted_by_the_key_that_it_came_with() -> None:
    log = Log().apply(update(0, 10, {"n": 0}, station=EVERYONE, key=b"\xff"))
    log = log.apply(deletion(1, "B", b"B")).recovered()
    assert log.numbers(EVERYONE) == [0]
    assert log.apply(deletion(2, None, b"\xff")).numbers(EVERYONE) == []


def test_a_deletion_is_remembered_only_as_long_as_something_stands_before_it() -> None:
    log = Log()
    for offset in range(0, 400, 2):
        log.apply(point(offset, offset, "B"), *([deletion(1)] if offset == 2 else [point(offset + 1, offset)]))
    assert len(log.compacted()) < 30
    assert not any(b"null,null" in (write.value or b"") for write in log.compacted())
    log = Log().apply(point(0, 1)).apply(deletion(1)).apply(point(2, 2, "B"))
    assert len(log.compacted()) == 1


def test_what_is_there_already_is_not_written_again() -> None:
    log = Log()
    log.apply(*(point(0, time) for time in range(5)))
    written = len(log.log)
    log.apply(*(update(9, time, {"n": 0}) for time in range(5)))
    assert len(log.log) == written
    log.apply(*(update(10, time, {"n": 0 if time < 4 else 1}) for time in range(5)))
    assert log.numbers() == [0, 0, 0, 0, 1]
    assert len(log.log[-1].value or b"") < 150


def test_what_was_changed_and_is_not_stored_is_written_again() -> None:
    log = Log()
    lost = log.windows.apply([point(0, 10)], now=1.0)
    log.windows.owes = True
    log.apply(point(0, 10))
    assert log.log == lost.writes
    assert log.recovered().numbers() == [0]
    log.apply(point(1, 20))
    assert len(log.log) == 2


def test_a_topic_that_was_made_anew_is_later() -> None:
    log = Log().apply(point(70, 10, timestamp=50.0)).apply(point(0, 10, timestamp=60.0), point(1, 20, timestamp=61.0))
    assert log.numbers() == [0, 1]


def test_a_message_in_several_frames_is_no_repeat_whatever_its_timestamp() -> None:
    log = Log().apply(point(0, 10, timestamp=100.0)).apply(point(1, 20, timestamp=90.0))
    assert log.apply(point(1, 30, timestamp=90.0)).numbers() == [0, 1, 1]


def test_a_window_is_bounded_and_lets_go_of_what_has_left_it_before_it_refuses() -> None:
    log = Log(most=700)
    text = "x" * 90
    for offset in range(40):
        log.apply(update(offset, offset, {"n": offset, "t": text}))
    assert log.refused == []
    assert log.numbers() == [*range(35, 40)]
    log.apply(update(40, 40, {"n": 40, "t": 8 * text}))
    assert len(log.refused) == 1
    assert log.refused[0] > 700
    assert log.numbers() == [*range(35, 40)]


def test_what_new_points_push_out_or_replace_makes_room_for_them() -> None:
    text = "x" * 90
    points = Log(Span(points=4), most=700)
    for first in (0, 4, 8):
        points.apply(*[update(first + n, first + n, {"n": first + n, "t": text}) for n in range(4)])
    assert (points.refused, points.numbers()) == ([], [8, 9, 10, 11])
    corrected = Log(Span(points=4), most=700)
    for offset in range(5):
        corrected.apply(update(offset, 7, {"n": offset, "t": 5 * text}))
    assert (corrected.refused, corrected.numbers()) == ([], [4])


def test_a_full_window_of_a_duration_takes_what_comes_after_it() -> None:
    log = Log(Span(seconds=100), most=700)
    for offset in range(40):
        log.apply(update(offset, offset, {"n": offset, "t": sha256(str(offset).encode()).hexdigest()}))
    assert log.refused
    kept = log.numbers()
    log.apply(update(40, 5_000, {"n": 99, "t": "x" * 90}))
    assert kept
    assert log.numbers() == [99]
    assert log.recovered().numbers() == [99]


def test_two_owners_never_write_segments_of_one_key() -> None:
    log = Log().apply(point(0, 10))
    other = log.recovered()
    other.now = 0.5  # its clock is behind
    other.apply(point(1, 20))
    assert len({write.key for write in other.log}) == 2


def test_a_foreign_segment_is_told_and_takes_nothing_in() -> None:
    for value in (
        b"{}",
        b'{"v":2}',
        b'{"v":1,"groups":[["T",[],null,[["A",[1,2],[]]]]]}',
        b'{"v":1,"groups":[1]}',
        b"?",
    ):
        windows = Windows({}, MOST)
        windows.write(b":1.1", value)
        assert windows.unreadable is not None
        assert ":1.1" in str(windows.unreadable)


# -- how much is written, and what stays ------------------------------------------------------------------------------


def test_a_record_is_written_once_whatever_the_size_of_the_window() -> None:
    def written(points: int) -> int:
        log = Log(Span(points=points))
        for offset in range(600):
            log.apply(*(point(offset, 300 * offset, f"S{number}") for number in range(SMALL)))
        return sum(len(write.key) + len(write.value or b"") for write in log.log)

    assert written(500) < 1.05 * written(10)


def test_messages_of_one_record_are_packed_once_more() -> None:
    log = Log(Span(points=200))
    for offset in range(3000):
        log.apply(point(offset, offset // 10, f"S{offset % 10}"))
    records = sum((write.value or b"").count(b'"n"') for write in log.log)
    assert records < 2.1 * 3000
    assert len(log.compacted()) < 2000 / tables.windows.SMALL + 2 * tables.windows.SMALL
    assert log.recovered(compacted=True).numbers("S3") == log.numbers("S3")


def test_a_segment_whose_first_station_has_no_room_for_it_is_kept_for_the_others() -> None:
    first, second = SegmentWriter(0), SegmentWriter(1)
    first.add((METER, "A"), [Mark(0, 0, START)], None, range(100, 114), [{"n": number} for number in range(14)])
    second.add((METER, "A"), [Mark(0, 0, START)], None, [1], [{"n": 1}])  # packed when it was in the window
    second.add((METER, "B"), [Mark(0, 1, START)], None, [1], [{"n": 1}])
    log = Log()
    log.log = [Write(Table.CONTEXT, b":1.%d" % one.number, one.encoded()) for one in (first, second)]
    log = log.recovered().apply(point(2, 200, "C"))
    assert log.numbers("B") == log.recovered().numbers("B") == log.recovered(compacted=True).numbers("B") == [1]


def test_a_station_that_has_gone_silent_does_not_keep_what_others_have_let_go_of() -> None:
    log = Log(Span(points=20))
    stations = [f"S{number}" for number in range(100)]
    for offset in range(2000):
        alive = stations[min(offset // 10, 90) :]
        log.apply(*(point(offset, offset, station) for station in alive))
    kept = sum(len(write.value or b"") for write in log.compacted())
    assert kept < 8 * sum(window.size for _, window in log.windows.items())
    other = log.recovered(compacted=True)
    assert [other.of(station) for station in stations] == [log.of(station) for station in stations]


# -- against a model --------------------------------------------------------------------------------------------------


class Model:
    """All that has come, in its order, and the last points of it."""

    def __init__(self, points: int) -> None:
        self.points = points
        self.of: dict[str, dict[int, list[Record]]] = {}

    def apply(self, *events: ContextEvent) -> None:
        for event in events:
            station = event.station_id or ""
            if isinstance(event, Tombstone):
                self.of[station] = {}
                continue
            assert event.time is not None
            known = self.of.setdefault(station, {})
            if len(known) >= self.points and event.time < sorted(known)[-self.points]:
                continue
            hosts = {record.get("hostCode") for record in event.records}
            there = known.get(event.time, [])
            before = [one for one in there if one.get("hostCode") not in hosts]
            if repr([one for one in there if one.get("hostCode") in hosts]) == repr([*event.records]):
                continue  # what is there already changes nothing
            known[event.time] = [*before, *event.records]

    def rows(self, station: str) -> list[Any]:
        known = self.of.get(station, {})
        return [(time, record) for time in sorted(known)[-self.points :] for record in known[time]]


STATIONS = ["A", "B", "C"]
records = st.builds(
    lambda host, n: {"n": n} if host is None else {"hostCode": host, "n": n},
    st.sampled_from([None, "h1", "h2"]),
    st.sampled_from([1, 1.0, 2.5, None, "x", 2**70, [1], {"a": 1}]),
)
steps = st.tuples(st.sampled_from(STATIONS), st.integers(0, 9), st.lists(records, min_size=1, max_size=2) | st.none())
logs = st.lists(st.lists(steps, min_size=1, max_size=6), min_size=1, max_size=25)


ONE = {None: 0, "h1": 0, "h2": 0}
SEVERAL = {None: 0, "h1": 1, "h2": 2}
"""The partition that has the messages of a host; tombstones are in the first."""


def frames_of(log: Sequence[Sequence[Any]], partitions: Mapping[str | None, int]) -> list[list[ContextEvent]]:
    frames: list[list[ContextEvent]] = []
    offsets = count()
    for of_frame in log:
        frames.append([])
        for station, time, found in of_frame:
            if found is None:
                frames[-1].append(deletion(next(offsets), station, station.encode(), timestamp=START))
                continue
            distinct = {one.get("hostCode"): one for one in found}
            for partition in dict.fromkeys(partitions[host] for host in distinct):
                of_hosts = [one for host, one in distinct.items() if partitions[host] == partition]
                options = {"station": station, "partition": partition, "timestamp": START}
                frames[-1].append(update(next(offsets), time, *of_hosts, **options))
    return frames


def contents(log: Log) -> list[Any]:
    return [log.of(station) for station in STATIONS]


@pytest.fixture(params=[(8, 64, 512, 64, 512), (2, 3, 6, 4, 3)], ids=["usual", "tiny"], autouse=True)
def sizes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks and segments as they are, and so small that a few records fill several, and have them written anew."""
    tail, small_block, block, small, sparse = request.param
    monkeypatch.setattr(storage, "TAIL", tail)
    monkeypatch.setattr(storage, "SMALL_BLOCK", small_block)
    monkeypatch.setattr(storage, "BLOCK", block)
    monkeypatch.setattr(tables.windows, "SMALL", small)
    monkeypatch.setattr(tables.windows, "_SPARSE", sparse)


@given(logs, st.sampled_from([1, 3, 7]), st.sampled_from([ONE, SEVERAL]), st.data())
@examples(150)
def test_windows_are_the_last_points_of_all_that_has_come_and_are_read_back_so(
    log: Any, points: int, partitions: Mapping[str | None, int], data: st.DataObject
) -> None:
    frames = frames_of(log, partitions)
    model, windows = Model(points), Log(Span(points=points))
    crash = data.draw(st.integers(0, len(frames)))
    for number, frame in enumerate(frames):
        if number == crash:
            windows = windows.recovered(compacted=data.draw(st.booleans()))
            again = data.draw(st.integers(0, number))
            for old in frames[again:number]:
                windows.apply(*old)
        model.apply(*frame)
        windows.apply(*frame)
    expected = [model.rows(station) for station in STATIONS]
    assert repr(contents(windows)) == repr(expected)
    assert repr(contents(windows.recovered())) == repr(expected)
    assert repr(contents(windows.recovered(compacted=True))) == repr(expected)
    held = {write.key for write in windows.compacted()}
    assert held == {segment.key for segment in windows.windows._segments.values()} | {
        key for key, _ in windows.windows._cuts.values()
    }
