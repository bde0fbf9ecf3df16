"""Reading topics to where they end now: holes, what comes meanwhile, and a broker that goes."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError
from aiokafka.structs import ConsumerRecord

from app.kafka.reading import OffsetRange, find_sources, in_message, ranges_of, read_batches, read_in_time, read_ranges
from app.messages.message import InMessage
from app.settings import Settings
from tables.model.events import Source
from tests.virtual_time import run_in_virtual_time

ONE, TWO = TopicPartition("t", 0), TopicPartition("t", 1)


class FakeConsumer:
    """Partitions with records at some offsets, one read at a time; what is not there is a hole, stepped over."""

    def __init__(
        self,
        offsets: Mapping[TopicPartition, Sequence[int]],
        *,
        answers: float = math.inf,
        times: Mapping[tuple[TopicPartition, int], int] | None = None,
    ) -> None:
        self.offsets = offsets
        self.times = times or {}  # in milliseconds
        self.answers = answers  # how many fetches are answered before the broker goes
        self.positions: dict[TopicPartition, int] = {}
        self.paused: set[TopicPartition] = set()

    def assign(self, tps: Sequence[TopicPartition]) -> None:
        self.positions, self.paused = dict.fromkeys(tps, 0), set()

    def seek(self, tp: TopicPartition, offset: int) -> None:
        self.positions[tp] = offset

    def pause(self, *tps: TopicPartition) -> None:
        self.paused |= set(tps)

    async def position(self, tp: TopicPartition) -> int:
        if not self.answers:
            await asyncio.Event().wait()
        return self.positions[tp]

    async def getmany(self, *tps: TopicPartition, timeout_ms: int) -> dict[TopicPartition, list[Any]]:
        if not self.answers:
            await asyncio.sleep(timeout_ms / 1000)
            return {}
        self.answers -= 1
        found: dict[TopicPartition, list[Any]] = {}
        for tp in set(tps or self.positions) - self.paused:
            at = self.positions[tp]
            if at in self.offsets[tp]:
                found[tp] = [
                    SimpleNamespace(
                        topic=tp.topic,
                        partition=tp.partition,
                        offset=at,
                        timestamp=self.times.get((tp, at), 1500),
                        key=b"k",
                        value=b"v",
                        headers=(),
                    )
                ]
            self.positions[tp] = at + 1
        return found

    async def beginning_offsets(self, tps: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return {tp: self.offsets[tp][0] for tp in tps}

    async def end_offsets(self, tps: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return {tp: self.offsets[tp][-1] + 1 for tp in tps}

    async def offsets_for_times(self, times: Mapping[TopicPartition, int]) -> dict[TopicPartition, Any]:
        """As if each offset were written at that second."""
        return {
            tp: next((SimpleNamespace(offset=one) for one in self.offsets[tp] if one * 1000 >= at), None)
            for tp, at in times.items()
        }


def read(consumer: FakeConsumer, ranges: Mapping[TopicPartition, OffsetRange]) -> list[tuple[int, int]]:
    """Partition and offset of all that is read."""

    async def run() -> list[tuple[int, int]]:
        return [(one.partition, one.offset) async for one in read_ranges(consumer, ranges)]

    return sorted(run_in_virtual_time(run()))


def test_holes_are_stepped_over_also_at_the_end() -> None:
    consumer = FakeConsumer({ONE: [3, 7], TWO: [0]})
    assert read(consumer, {ONE: OffsetRange(2, 10), TWO: OffsetRange(0, 1)}) == [(0, 3), (0, 7), (1, 0)]


def test_nothing_is_read_that_was_not_there_at_the_start() -> None:
    consumer = FakeConsumer({ONE: range(100), TWO: [5]})
    assert read(consumer, {ONE: OffsetRange(0, 2), TWO: OffsetRange(5, 6)}) == [(0, 0), (0, 1), (1, 5)]
    assert consumer.positions[ONE] == 2, "what has been read to its end is not fetched any further"


def test_an_empty_topic_is_not_waited_for() -> None:
    assert read(FakeConsumer({}, answers=0), {ONE: OffsetRange(4, 4)}) == []
    assert read(FakeConsumer({}, answers=0), {}) == []


def test_batches_are_read_to_the_end() -> None:
    async def run() -> list[tuple[TopicPartition, list[int]]]:
        ranges = {ONE: OffsetRange(1, 3), TWO: OffsetRange(9, 9)}
        batches = read_batches(consumer, ranges, stalled_after=None)
        return [(tp, [record.offset for record in records]) async for tp, records in batches]

    consumer = FakeConsumer({ONE: range(100), TWO: range(9)})
    assert run_in_virtual_time(run()) == [(ONE, [1]), (ONE, [2])]


def test_messages_of_several_partitions_come_in_the_order_of_their_times() -> None:
    times = {(ONE, 0): 10, (ONE, 1): 40, (ONE, 5): 50, (TWO, 0): 20, (TWO, 1): 30, (TWO, 2): 60}
    consumer = FakeConsumer({ONE: [0, 1, 5], TWO: range(9)}, times=times)
    ranges = {ONE: OffsetRange(0, 8), TWO: OffsetRange(0, 3), TopicPartition("t", 2): OffsetRange(4, 4)}

    async def run() -> list[tuple[int, int]]:
        return [(one.partition, one.offset) async for one in read_in_time(consumer, ranges)]

    assert run_in_virtual_time(run()) == [(0, 0), (1, 0), (1, 1), (0, 1), (0, 5), (1, 2)]


def test_a_broker_that_goes_ends_reading_in_the_order_of_time() -> None:
    async def run() -> None:
        async for _ in read_in_time(FakeConsumer({ONE: range(9)}, answers=3), {ONE: OffsetRange(0, 9)}):
            pass

    with pytest.raises(KafkaConnectionError):
        run_in_virtual_time(run())


@pytest.mark.parametrize("answers", [0, 3])
def test_a_broker_that_goes_is_not_waited_for_without_end(answers: int) -> None:
    with pytest.raises(KafkaConnectionError):
        read(FakeConsumer({ONE: range(9)}, answers=answers), {ONE: OffsetRange(0, 9)})


def test_a_source_message_that_was_compacted_away_with_nothing_behind_it_is_not_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Compacted(FakeConsumer):
        async def getmany(self, *_: TopicPartition, timeout_ms: int) -> dict[TopicPartition, list[Any]]:
            await asyncio.sleep(timeout_ms / 1000)
            return {}

    @asynccontextmanager
    async def reading(_: Settings) -> AsyncIterator[FakeConsumer]:
        yield Compacted({ONE: [0, 7]})

    monkeypatch.setattr("app.kafka.reading.reading", reading)
    assert run_in_virtual_time(find_sources(Settings(), [Source("t", 0, 7)])) == {}


def test_a_range_is_all_there_is_or_what_was_written_from_a_time_on() -> None:
    consumer = FakeConsumer({ONE: [3, 7], TWO: [1, 2]})

    async def ranges(since: float | None) -> dict[TopicPartition, OffsetRange]:
        return await ranges_of(consumer, [ONE, TWO], since=since)

    assert run_in_virtual_time(ranges(None)) == {ONE: OffsetRange(3, 8), TWO: OffsetRange(1, 3)}
    assert run_in_virtual_time(ranges(3.5)) == {ONE: OffsetRange(7, 8), TWO: OffsetRange(3, 3)}
    assert run_in_virtual_time(ranges(-5.0)) == {ONE: OffsetRange(3, 8), TWO: OffsetRange(1, 3)}


def test_a_record_becomes_a_message_with_its_time_in_seconds() -> None:
    headers = (("batch-id", b"b"),)
    record = ConsumerRecord("topic", 3, 7, 1762218000_500, 0, b"key", None, None, 3, 0, headers)
    assert in_message(record) == InMessage("topic", 3, 7, 1762218000.5, b"key", None, headers)
