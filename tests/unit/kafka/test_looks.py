"""Looks into topics by time and by key, on a topic in memory that answers as a broker does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.structs import ConsumerRecord, OffsetAndTimestamp
from hypothesis import given
from hypothesis import strategies as st

from app.kafka import looks
from app.kafka.looks import TooMuchError, count_messages, find_outputs_of, time_of
from app.messages.message import InMessage
from tables.model.events import Source

TP = TopicPartition("OUT", 0)


class Topic:
    """One partition; `messages` are its timestamps (milliseconds), keys, revisions, parts and how many parts."""

    def __init__(self, messages: Iterable[tuple[int, bytes, int, int, int]], *, begin: int = 0) -> None:
        self.records = [
            _record(begin + place, at, key, {"revision": revision, "part": part, "parts": parts})
            for place, (at, key, revision, part, parts) in enumerate(messages)
        ]
        self.begin = begin
        self.asked = 0
        self.fetched = 0
        self._position = 0
        self._client = SimpleNamespace(add_topic=self._add_topic)

    async def _add_topic(self, _: str) -> None:
        await asyncio.sleep(0)

    async def beginning_offsets(self, tps: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(tps, self.begin)

    async def end_offsets(self, tps: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        return {tp: self.begin + len(self.records) if tp.partition == 0 else 0 for tp in tps}

    async def offsets_for_times(
        self, times: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, OffsetAndTimestamp | None]:
        self.asked += 1
        found: dict[TopicPartition, OffsetAndTimestamp | None] = dict.fromkeys(times)
        for one in self.records:
            if TP in times and one.timestamp >= times[TP]:
                found[TP] = OffsetAndTimestamp(one.offset, one.timestamp)
                break
        return found

    def assign(self, _: list[TopicPartition]) -> None:
        self._position = self.begin

    def seek(self, _: TopicPartition, offset: int) -> None:
        self._position = offset

    def pause(self, *_: TopicPartition) -> None:
        pass

    async def position(self, _: TopicPartition) -> int:
        return self._position

    async def getmany(self, **_: Any) -> dict[TopicPartition, list[ConsumerRecord]]:
        records = [one for one in self.records if one.offset >= self._position][:3]
        if records:
            self._position = records[-1].offset + 1
        self.fetched += len(records)
        return {TP: records} if records else {}


def _record(offset: int, at: int, key: bytes, numbers: Mapping[str, int]) -> ConsumerRecord:
    headers = [(name, str(number).encode()) for name, number in numbers.items()]
    return ConsumerRecord("OUT", 0, offset, at, 0, key, b"{}", None, len(key), 2, tuple(headers))


def outputs(topic: Any, closings: Mapping[int, float], *, patience: float = 60.0) -> tuple[list[InMessage], bool]:
    return asyncio.run(find_outputs_of(topic, TP, b"k", closings, patience=patience))


def others(*times: int) -> list[tuple[int, bytes, int, int, int]]:
    return [(at, b"other", 1, 1, 1) for at in times]


def test_an_output_is_found_by_its_time_and_key_and_nothing_else_is_read() -> None:
    topic = Topic(
        [*others(*range(0, 900_000, 1000)), (900_000, b"k", 1, 1, 1), *others(*range(900_001, 990_000, 1000))]
    )
    messages, gone = outputs(topic, {1: 900.0})
    assert ([message.offset for message in messages], gone, topic.fetched) == ([900], False, 3)


def test_all_parts_and_revisions_are_found_each_at_its_time() -> None:
    parts = [(100_000, b"k", 1, part, 3) for part in (1, 2, 3, 1)]  # a copy of the first
    topic = Topic(
        [*parts[:2], *others(100_000), *parts[2:], *others(*range(200_000, 900_000, 1000)), (900_000, b"k", 2, 1, 1)]
    )
    messages, gone = outputs(topic, {1: 100.0, 2: 900.0})
    assert ([message.offset for message in messages], gone) == ([0, 1, 3, 705], False)
    assert topic.fetched < 10


def test_a_part_of_another_cut_stands_for_none_of_the_whole_output() -> None:
    """A worker died between two parts, and came back with a larger limit."""
    topic = Topic(
        [(100_000, b"k", 1, 1, 3), *others(100_000), (100_000, b"k", 1, 1, 1), *others(*range(200_000, 900_000, 1000))]
    )
    messages, gone = outputs(topic, {1: 100.0})
    assert (sorted(message.offset for message in messages), gone) == ([0, 2], False)


@pytest.mark.parametrize("parts", [0, 10**9, 10**4000])
def test_a_count_of_parts_that_none_of_ours_has_is_one(parts: int) -> None:
    topic = Topic([(100_000, b"k", 1, 1, parts), *others(*range(100_000, 900_000, 1000))])
    messages, gone = outputs(topic, {1: 100.0})
    assert ([message.offset for message in messages], gone, topic.fetched) == ([0], False, 3)


def test_an_output_that_was_appended_by_a_slow_clock_is_found() -> None:
    topic = Topic([*others(50_000), (70_000, b"k", 1, 1, 1), *others(99_000, 100_500)])
    messages, gone = outputs(topic, {1: 100.0})
    assert ([message.offset for message in messages], gone) == ([1], False)


@pytest.mark.parametrize(
    ("topic", "is_gone"),
    [
        (Topic([]), False),
        (Topic([], begin=7), True),
        (Topic(others(200_000), begin=7), True),
        (Topic(others(200_000)), False),
        (Topic(others(50_000, 200_000), begin=7), False),  # what is older is there: it never stood there
        (Topic(others(50_000, 100_000, 200_000)), False),
    ],
)
def test_what_is_not_there_may_be_gone(topic: Topic, is_gone: bool) -> None:
    assert outputs(topic, {1: 100.0}) == ([], is_gone)


def test_reading_ends_when_it_can_not_come_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    topic = Topic(others(*range(100_000, 900_000, 1000)))
    assert outputs(topic, {1: 100.0}, patience=30.0) == ([], False)
    assert topic.fetched < 80
    monkeypatch.setattr(looks, "MOST_RECORDS", 20)
    with pytest.raises(TooMuchError, match="21 messages"):
        outputs(topic, {1: 100.0}, patience=30.0)


@given(
    st.lists(st.integers(0, 100) | st.integers(0, 100_000), min_size=1, max_size=50),
    st.integers(0, 49),
    st.integers(0, 5_000),
)
def test_the_time_of_a_message_is_found_and_it_is_read_only_where_others_hide_it(
    times: list[int], place: int, delay: int
) -> None:
    topic: Any = Topic(others(*times), begin=3)
    place %= len(times)
    source = Source("OUT", 0, 3 + place)
    found = asyncio.run(time_of(topic, source, (times[place] + delay) / 1000))
    assert found == times[place] / 1000
    hidden = any(time >= times[place] for time in times[:place])
    assert (topic.fetched > 0) is hidden
    assert topic.asked <= 40


@pytest.mark.parametrize("offset", [2, 9])
def test_a_message_that_is_not_there_has_no_time(offset: int) -> None:
    topic: Any = Topic(others(1000, 2000, 3000, 4000), begin=3)
    assert asyncio.run(time_of(topic, Source("OUT", 0, offset), 3.0)) is None


def test_messages_are_counted_by_their_times() -> None:
    topic: Any = Topic(others(1000, 2000, 3000, 4000), begin=3)
    for since, until, count in ((0.0, 9.0, 4), (2.0, 4.0, 2), (2.001, 9.0, 2), (5.0, 9.0, 0), (9.0, 0.0, 0)):
        assert asyncio.run(count_messages(topic, {"OUT": 2}, since, until)) == {"OUT": count}
