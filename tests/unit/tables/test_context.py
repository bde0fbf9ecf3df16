"""The table of context records: what is kept, what is the newest, and what a tombstone deletes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tables.context import (
    EVERYONE,
    ContextEvent,
    ContextUpdate,
    Entry,
    MessageRecords,
    Place,
    Record,
    Tombstone,
    apply,
    context_key,
    decode_entry,
    encode_entry,
)
from tables.storage.records import UnreadableRecordError
from tests.examples import examples

TOPIC = "WEATHER"
A = context_key(TOPIC, "A")
ALL = context_key(TOPIC, EVERYONE)


class ContextTable:
    """The table of one partition, and how often it was written."""

    def __init__(self, max_ahead: float = 0.0) -> None:
        self.max_ahead = max_ahead
        self.records: dict[bytes, bytes] = {}
        self.written: list[bytes] = []

    def apply(self, *events: ContextEvent) -> ContextTable:
        for event in events:
            for write in apply(event, self.records.get, max_ahead=self.max_ahead):
                self.written.append(write.key)
                if write.value is None:
                    self.records.pop(write.key, None)
                else:
                    self.records[write.key] = write.value
        return self

    def of(self, key: bytes = A) -> list[Record] | None:
        """The records under a key."""
        return decode_entry(key, self.records[key]).records if key in self.records else None


def place(offset: int, partition: int = 0, timestamp: float | None = None) -> Place:
    return Place(partition, offset, 1000.0 + offset if timestamp is None else timestamp)


def update(
    at: Place, time: int | None, *records: Record, station: str = "A", key: bytes | None = None
) -> ContextUpdate:
    return ContextUpdate(TOPIC, at, key, station, time, records)


def deletion(at: Place, key: bytes = b"A", station: str | None = "A") -> Tombstone:
    return Tombstone(TOPIC, at, key, station)


def test_an_entry_that_is_ahead_of_its_own_message_gives_way_to_what_is_later_in_the_log() -> None:
    far, usual = update(place(3), 5000, {"t": 5000}), update(place(4), 1004, {"t": 1004})
    for limit, kept in ((0.0, 5000), (3996.9, 1004), (3997.0, 5000)):
        assert ContextTable(limit).apply(far, usual).of() == [{"t": kept}]
        assert ContextTable(limit).apply(far, update(place(2), 1002, {"t": 1002})).of() == [{"t": 5000}]
    backfill = update(place(5, timestamp=10.0), 10, {"t": 10})
    assert ContextTable(86_400.0).apply(usual, backfill).of() == [{"t": 1004}]
    undated = update(place(3, timestamp=-0.001), 5000, {"t": 5000})
    assert ContextTable(86_400.0).apply(undated, usual).of() == [{"t": 5000}]


def test_a_later_time_takes_the_place_of_an_earlier_one_in_whatever_order_they_come() -> None:
    older, newer = update(place(0), 10, {"t": 10}), update(place(1), 20, {"t": 20})
    assert ContextTable().apply(older, newer).of() == [{"t": 20}]
    table = ContextTable().apply(newer, older)
    assert table.of() == [{"t": 20}]
    assert table.written == [A]


def test_hosts_of_one_time_are_kept_together_and_the_last_record_of_each_wins() -> None:
    first = update(place(0), 10, {"hostCode": "h1", "n": 1}, {"hostCode": "h2", "n": 2})
    second = update(place(1), 10, {"hostCode": "h1", "n": 3})
    third = update(place(2), 10, {"n": 4})
    table = ContextTable().apply(first, second, third)
    assert table.of() == [{"hostCode": "h2", "n": 2}, {"hostCode": "h1", "n": 3}, {"n": 4}]
    assert table.apply(update(place(3), 11, {"hostCode": "h2", "n": 5})).of() == [{"hostCode": "h2", "n": 5}]


def test_records_of_one_host_in_one_message_stay_together() -> None:
    guns = [{"hostCode": "h1", "gun": "01"}, {"hostCode": "h1", "gun": "02"}]
    assert ContextTable().apply(update(place(0), 10, *guns)).of() == guns


@pytest.mark.parametrize(("first", "second"), [(None, None), (None, 5), (50, None)])
def test_where_either_has_no_time_the_later_in_the_log_wins(first: int | None, second: int | None) -> None:
    table = ContextTable().apply(update(place(0), first, {"n": 0}), update(place(1), second, {"n": 1}))
    assert table.of() == [{"n": 1}]
    assert table.apply(update(place(0), first, {"n": 0})).of() == [{"n": 1}]


def test_between_partitions_the_timestamp_tells_what_is_later() -> None:
    table = ContextTable().apply(update(place(7, timestamp=50.0), None, {"n": 0}))
    assert table.apply(update(place(3, partition=1, timestamp=49.0), None, {"n": 1})).of() == [{"n": 0}]
    assert table.apply(update(place(3, partition=1, timestamp=50.0), None, {"n": 2})).of() == [{"n": 2}]


def test_what_stands_in_a_topic_that_was_made_anew_is_later() -> None:
    table = ContextTable().apply(update(place(70, timestamp=50.0), None, {"n": 0}))
    assert table.apply(update(place(0, timestamp=60.0), None, {"n": 1})).of() == [{"n": 1}]


def test_a_tombstone_deletes_its_station_and_writes_that_even_when_there_is_nothing() -> None:
    table = ContextTable().apply(update(place(0), 10, {}), update(place(1), 10, {}, station="B"), deletion(place(2)))
    assert table.records.keys() == {context_key(TOPIC, "B")}
    table.written.clear()
    table.apply(deletion(place(2)))
    assert table.written == [ALL, A]
    table.written.clear()
    table.apply(deletion(place(2), station=None))
    assert table.written == [ALL]


def test_a_tombstone_that_comes_again_deletes_nothing_that_came_after_it() -> None:
    events: list[ContextEvent] = [update(place(0), 10, {"n": 0}), deletion(place(1)), update(place(2), 9, {"n": 2})]
    assert ContextTable().apply(*events, deletion(place(1))).of() == [{"n": 2}]


def test_what_is_everyones_is_deleted_by_the_key_that_it_came_with() -> None:
    everyones = update(place(0), None, {"holiday": True}, station=EVERYONE, key=b"\xffcal")
    table = ContextTable().apply(everyones, deletion(place(1), b"other", None), deletion(place(2), b"A", "A"))
    assert table.of(ALL) == [{"holiday": True}]
    table.apply(update(place(3), None, {"holiday": False}, station=EVERYONE, key=b"new"))
    assert table.apply(deletion(place(4), b"\xffcal", None)).of(ALL) == [{"holiday": False}]
    assert table.apply(deletion(place(5), b"new", None)).of(ALL) is None


def test_stations_and_topics_are_kept_apart() -> None:
    other = ContextUpdate("OTHER", place(0), None, "A", 10, [{"n": 1}])
    table = ContextTable().apply(update(place(0), 10, {"n": 0}), other)
    assert (table.of(), table.of(context_key("OTHER", "A"))) == ([{"n": 0}], [{"n": 1}])


hosts = st.sampled_from(["h1", "h2", None])
record_lists = st.lists(st.builds(lambda host, n: {"hostCode": host, "n": n}, hosts, st.integers(0, 3)), min_size=1)
logs = st.lists(st.tuples(st.sampled_from([None, 10, 11]), record_lists) | st.none(), min_size=1, max_size=8)


def events_of(log: Sequence[tuple[int | None, list[Record]] | None]) -> list[ContextEvent]:
    return [
        deletion(place(offset)) if one is None else update(place(offset), one[0], *one[1])
        for offset, one in enumerate(log)
    ]


@given(logs, st.data())
@examples(600)
def test_reading_any_part_of_the_log_again_up_to_its_end_changes_nothing(log: Any, data: st.DataObject) -> None:
    events = events_of(log)
    read_before = data.draw(st.integers(0, len(events)))
    again_from = data.draw(st.integers(0, read_before))
    once = ContextTable().apply(*events)
    twice = ContextTable().apply(*events[:read_before]).apply(*events[again_from:])
    assert twice.records == once.records


@given(logs)
def test_each_event_applied_twice_in_a_row_is_the_same_as_once(log: Any) -> None:
    events = events_of(log)
    twice = ContextTable().apply(*(event for event in events for _ in range(2)))
    assert twice.records == ContextTable().apply(*events).records


def test_an_entry_is_read_back_as_it_was_written() -> None:
    entry = Entry(10, b"\xff\x00", [MessageRecords(place(1), [{"a": [1.5, None]}]), MessageRecords(place(2, 3), [{}])])
    assert decode_entry(A, encode_entry(entry)) == entry
    bare = Entry(None, None, [MessageRecords(place(1), [{}])])
    assert decode_entry(A, encode_entry(bare)) == bare


@pytest.mark.parametrize("value", [b"", b"[]", b'{"v":2}', b'{"v":1,"time":null,"key":null,"parts":[1]}'])
def test_foreign_bytes_are_no_entry(value: bytes) -> None:
    with pytest.raises(UnreadableRecordError, match="WEATHER#A"):
        decode_entry(A, value)
