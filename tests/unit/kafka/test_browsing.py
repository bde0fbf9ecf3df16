"""Looking into topics: windows that are read whole, or left out when they are too large; letters that are far apart."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError

from app.kafka.browsing import CannotLook, TopicView
from app.kafka.letters import RUN_GAP, LetterStore
from app.kafka.reading import OffsetRange
from app.messages.replays import ReplayLog

ALL = OffsetRange(0, 1000)


class FakeConsumer:
    """A topic with records of these sizes; two of a partition are read at a time."""

    def __init__(self, sizes: Mapping[int, Mapping[int, int]], *, broken: bool = False) -> None:
        self.sizes = sizes
        self.broken = broken
        self.read: list[tuple[int, int]] = []
        self.positions: dict[TopicPartition, int] = {}
        self.paused: set[TopicPartition] = set()

    def assign(self, tps: Sequence[TopicPartition]) -> None:
        self.positions, self.paused = dict.fromkeys(tps, 0), set()

    def seek(self, tp: TopicPartition, offset: int) -> None:
        self.positions[tp] = offset

    def pause(self, *tps: TopicPartition) -> None:
        self.paused |= set(tps)

    async def position(self, tp: TopicPartition) -> int:
        return self.positions[tp]

    async def getmany(self, **_: int) -> dict[TopicPartition, list[Any]]:
        if self.broken:
            raise KafkaConnectionError
        found: dict[TopicPartition, list[Any]] = {}
        for tp in self.positions.keys() - self.paused:
            there = sorted(offset for offset in self.sizes[tp.partition] if offset >= self.positions[tp])[:2]
            found[tp] = [self._record(tp, offset) for offset in there]
            self.read += [(tp.partition, offset) for offset in there]
            self.positions[tp] = there[-1] + 1 if there else 1000
        return found

    def _record(self, tp: TopicPartition, offset: int) -> Any:
        value = b"x" * self.sizes[tp.partition][offset]
        return SimpleNamespace(
            topic=tp.topic, partition=tp.partition, offset=offset, timestamp=5000, key=None, value=value, headers=()
        )


def look(consumer: FakeConsumer, windows: Mapping[int, OffsetRange], most: int) -> dict[int, list[int]]:
    view = TopicView("t", consumer, dict.fromkeys(consumer.sizes, ALL))
    found = asyncio.run(view.read(windows, most))
    return {partition: [message.offset for message in messages] for partition, messages in found.items()}


def test_a_window_is_read_from_its_first_to_its_last_message() -> None:
    consumer = FakeConsumer({0: dict.fromkeys(range(10), 1), 1: {3: 1, 9: 1}})
    windows = {0: OffsetRange(3, 6), 1: OffsetRange(4, 9)}
    assert look(consumer, windows, 100) == {0: [3, 4, 5], 1: []}


def test_a_window_with_too_many_bytes_is_left_out_and_not_read_to_its_end() -> None:
    consumer = FakeConsumer({0: dict.fromkeys(range(100), 50)})
    assert look(consumer, {0: OffsetRange(0, 100)}, 120) == {}
    assert len(consumer.read) == 4


def test_a_window_of_one_message_is_read_however_large_that_is() -> None:
    consumer = FakeConsumer({0: {7: 10_000}})
    assert look(consumer, {0: OffsetRange(7, 8)}, 120) == {0: [7]}


def test_what_is_whole_beside_a_window_that_is_too_large_is_there() -> None:
    consumer = FakeConsumer({0: dict.fromkeys(range(100), 100), 1: {0: 1, 1: 1}})
    assert look(consumer, {0: OffsetRange(0, 100), 1: OffsetRange(0, 2)}, 120).get(1, [0, 1]) == [0, 1]


def test_a_broker_that_goes_is_named_with_the_topic() -> None:
    with pytest.raises(CannotLook, match=r"topic t can't be read from Kafka now: .*KafkaConnectionError"):
        look(FakeConsumer({0: {0: 1}}, broken=True), {0: ALL}, 100)


# -- letters -----------------------------------------------------------------------------------------------------------


def test_letters_that_are_far_apart_are_read_without_all_that_is_between() -> None:
    consumer = FakeConsumer({0: dict.fromkeys(range(1000), 1), 1: dict.fromkeys(range(1000), 1)})
    ranges = {TopicPartition("t", partition): ALL for partition in (0, 1)}
    store = LetterStore(consumer, ranges, ReplayLog("r"), {}, None)
    places = [(0, 900), (1, 5), (0, 3), (0, 4 + RUN_GAP), (0, 5000), (2, 1)]
    letters = asyncio.run(store.read(places))
    assert [(letter.partition, letter.offset) for letter in letters] == places[:4]
    assert len(consumer.read) < 2 * RUN_GAP
